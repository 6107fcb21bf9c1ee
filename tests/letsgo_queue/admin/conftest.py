"""Fixtures of the tests of administration."""

from __future__ import annotations

import pytest

from claimcheck.testing import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def no_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators have one server, so a short poll of theirs misses nothing.

    And nobody gives up a redriven message, so no two letters need differ by their time.
    """
    if not request.config.getoption("--aws"):
        monkeypatch.setattr("letsgo_queue.admin.sqs_visit.WAIT_SECONDS", 0)
        monkeypatch.setattr("letsgo_queue.admin.sqs_visit.BEGINNING_SECONDS", 0)
