"""The options of `manage.py letsgo_worker`."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from letsgo_queue import Health
from letsgo_queue.worker import fleet
from tests.claimcheck.integrations.django.conftest import Configure


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of the runs of workers that the command would have begun."""
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(fleet, "run_workers", lambda *_, **options: begun.append(options))
    return begun


def test_every_option_reaches_the_workers(configure: Configure, runs: list[dict[str, Any]]) -> None:
    configure()
    call_command(
        "letsgo_worker",
        backend="default",
        queue=["default"],
        concurrency=7,
        burst=True,
        drain_timeout=1.5,
        health_port=0,
        health_host="127.0.0.1",
    )
    assert runs == [
        {
            "burst": True,
            "concurrency": 7,
            "drain_timeout": 1.5,
            "health": Health(port=0, host="127.0.0.1"),
            "protect_from_scale_in": False,
        }
    ]


def test_what_cannot_be_is_refused_in_one_line(
    configure: Configure, runs: list[dict[str, Any]]
) -> None:
    configure()
    with pytest.raises(CommandError, match="processes=-1"):
        call_command("letsgo_worker", processes=-1)
    with pytest.raises(CommandError, match="max_messages=0"):
        call_command("letsgo_worker", max_messages=0)
    with pytest.raises(CommandError, match="max_memory=0"):
        call_command("letsgo_worker", max_memory=0)
    with pytest.raises(CommandError, match="TASKS has no backend 'nowhere': give one of 'default'"):
        call_command("letsgo_worker", backend="nowhere")
    assert runs == []
