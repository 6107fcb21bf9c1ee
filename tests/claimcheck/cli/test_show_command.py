"""`claimcheck show`, as it is used: behind a pipe."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware, open_store
from letsgo_queue import Client
from tests.claimcheck.support import SECRET, message_body, noise
from tests.letsgo_queue.support import receive_one
from tests.support.command import run

BODY = message_body("order:new", SECRET + noise(1_000_000))


@pytest.fixture
def store_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Beside a SQLite queue, where nothing else is set."""
    url = f"sqlite:///{tmp_path / 'work.db'}"
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"{url}?visibility_timeout=60")
    return url


def test_explains_a_stored_message_from_there_to_gone(tmp_path: Path, store_url: str) -> None:
    store = open_store(store_url)
    claim_check = ClaimCheck(store)
    body = claim_check.seal(BODY).body.decode()

    there = run("claimcheck", "show", cwd=tmp_path, stdin=body + "\n")
    opened = claim_check.open(body)
    taken = run("claimcheck", "show", cwd=tmp_path, stdin=body)
    opened.purge()
    gone = run("claimcheck", "show", "--json", cwd=tmp_path, stdin=body)

    assert (there.returncode, there.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in there.stdout.splitlines())
    assert lines["type"] == "order:new"
    assert lines["route"] == "stored"
    assert lines["size"] == f"{len(BODY):,} bytes"
    assert lines["state"] == "there"
    assert taken.returncode == 0
    assert "taken, lease until 20" in taken.stdout
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["claim"]["state"] == "gone"
    for shown in (there, taken, gone):
        assert SECRET not in shown.stdout + shown.stderr


def test_another_queue_can_be_named(tmp_path: Path, store_url: str) -> None:
    body = ClaimCheck(open_store(f"sqlite:///{tmp_path}/other.db")).seal(BODY).body.decode()

    here = run("claimcheck", "show", "--json", cwd=tmp_path, stdin=body)
    there = run("claimcheck", "show", "--queue", "sqlite:///other.db", cwd=tmp_path, stdin=body)

    assert (here.returncode, json.loads(here.stdout)["claim"]["store"]) == (1, store_url)
    assert there.returncode == 0
    assert "sqlite:///other.db" in there.stdout


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [
        (message_body("greet", SECRET), 0, "inline"),
        ('{"type":"x\\u001b[31m"}', 0, r"x\x1b[31m"),
        ('{"type":"order:new","claimCheck":{"v":1}}', 1, "malformed"),
        ("\n", 1, "standard input is empty"),
    ],
)
def test_explains_anything(
    tmp_path: Path, store_url: str, stdin: str, code: int, said: str
) -> None:
    shown = run("claimcheck", "show", cwd=tmp_path, stdin=stdin)

    assert shown.returncode == code
    assert said in shown.stdout + shown.stderr
    assert SECRET not in shown.stdout
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "work.db").exists()


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
def test_a_dead_letter_goes_through_a_pipe(tmp_path: Path, store_url: str) -> None:
    client = Client(middleware=[ClaimCheckMiddleware(ClaimCheck(open_store(store_url)))])
    client.enqueue({"type": "order:new", "payload": noise(3_000_000)})
    message = receive_one(client.transport())
    client.transport().move_to_dead_letters(message, "no use")
    python = shlex.quote(sys.executable)
    pipe = (
        f"{python} -m letsgo_queue.cli.app dead-letter list --bodies --json"
        f" | jq -r '.[0].body' | {python} -m claimcheck.cli.app show --json"
    )

    shown = subprocess.run(["sh", "-c", pipe], cwd=tmp_path, capture_output=True, check=True)

    report = json.loads(shown.stdout)
    assert (report["type"], report["route"]) == ("order:new", "stored")
    assert (report["sent_size"], report["claim"]["state"]) == (len(message.body), "there")
