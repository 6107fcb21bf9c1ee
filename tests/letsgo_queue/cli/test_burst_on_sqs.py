"""`letsgo-queue worker --burst` on SQS, which the other tests have find emulators empty at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.faulty_server import Failure, FaultyServer
from tests.support.servers import AwsServer


def test_a_queue_is_empty_if_a_long_poll_says_so(
    ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short one asks only some of SQS's servers."""
    (tmp_path / "work.py").write_text("from letsgo_queue import Worker\nworker = Worker()\n")
    assert ministack.endpoint_url
    path = ministack.make_queue().removeprefix(ministack.endpoint_url)
    with FaultyServer(ministack.endpoint_url) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("LETSGO_QUEUE_URL", f"{server.url}{path}")
        long = server.inject(
            Failure.SLOW,
            on="ReceiveMessage",
            matches=lambda fields: fields["WaitTimeSeconds"] > 0,
        )

        ended = run("letsgo-queue", "worker", "work", "--burst", cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert long.happened == server.operations.count("ReceiveMessage") > 0
