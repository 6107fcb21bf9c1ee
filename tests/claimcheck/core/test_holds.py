"""How a hold ends where its store is busy: with a receipt, unless that would take too long."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimInProgress,
    ClaimStoreError,
    ClaimStoreUnavailable,
    Opened,
)
from claimcheck.core import holds
from claimcheck.core.opened import unpack
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.core.lives import BODY
from tests.claimcheck.support import small_claim_check
from tests.claimcheck.watched import ALWAYS, Watched


@dataclass
class Pauses:
    """The time of a delivery, which passes where it waits."""

    now: float = 1_000.0
    made: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.made.append(seconds)
        self.now += seconds


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    time = SimpleNamespace(monotonic=lambda: pauses.now, sleep=pauses.sleep)
    monkeypatch.setattr(holds, "time", time)
    return pauses


@pytest.fixture
def watched(store: MemoryClaimStore) -> Watched:
    return Watched(store)


@pytest.fixture
def check(watched: Watched) -> ClaimCheck:
    return small_claim_check(watched.store)


@pytest.mark.parametrize("another_comes", [True, False])
def test_a_lease_that_runs_out_while_a_large_body_is_unpacked_is_extended_or_lost(
    watched: Watched,
    *,
    check: ClaimCheck,
    store: MemoryClaimStore,
    clock: Clock,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    another_comes: bool,
) -> None:
    sealed = check.seal(BODY).body.decode()
    others: list[Opened] = []

    def unpack_slowly(*arguments: Any) -> str:
        monkeypatch.setattr("claimcheck.core.claim_check.unpack", unpack)
        clock.advance(120)
        pauses.sleep(120)
        if another_comes:
            others.append(small_claim_check(store).open(sealed))
        return unpack(*arguments)

    monkeypatch.setattr("claimcheck.core.claim_check.unpack", unpack_slowly)
    if another_comes:
        with pytest.raises(ClaimInProgress):
            check.open(sealed)
        assert others[0].extend(120)
    else:
        opened = check.open(sealed)
        with pytest.raises(ClaimInProgress):
            small_claim_check(store).open(sealed)
        assert opened.complete()


def settle(opened: Opened, caplog: pytest.LogCaptureFixture) -> str:
    """End a delivery whose handler succeeded; gives the log."""
    with caplog.at_level(logging.WARNING):
        opened.settle(succeeded=True)
    return caplog.text


@pytest.mark.parametrize("body", [BODY, "small"], ids=["stored", "small"])
def test_a_store_that_is_busy_gets_its_receipt_later(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    sealed = check.seal(body).body.decode()
    opened = check.open(sealed, once="m-1@")
    watched.fail("complete", times=3)

    assert settle(opened, caplog) == ""

    with pytest.raises(ClaimAlreadyProcessed):
        check.open(sealed, once="m-1@")
    assert watched.calls["complete"] == 4
    # No two of those that were refused at one moment come back at one moment.
    assert len({pause / least for pause, least in zip(pauses.made, (0.5, 1, 2), strict=True)}) == 3


def test_a_store_that_stays_busy_holds_a_thread_for_seconds(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    opened = check.open(check.seal(BODY).body.decode())
    watched.fail("complete", times=ALWAYS)

    said = settle(opened, caplog)

    assert "A duplicate of its message will not be recognised." in said
    assert 2 < watched.calls["complete"] <= 6
    assert sum(pauses.made) < holds.RECEIPT_SECONDS


def test_a_store_that_takes_long_to_fail_is_asked_once(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not answer: botocore waits, and tries again, for more than a minute."""

    def no_answer() -> None:
        pauses.now += 76
        raise ClaimStoreUnavailable("no answer")

    opened = check.open(check.seal(BODY).body.decode(), lease_seconds=900)
    watched.before("complete", no_answer, times=ALWAYS)

    assert "could not be completed: no answer" in settle(opened, caplog)
    assert watched.calls["complete"] == 1


def test_a_store_that_refuses_for_good_is_asked_once(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    def denied() -> None:
        raise ClaimStoreError("denied")

    opened = check.open(check.seal(BODY).body.decode())
    watched.before("complete", denied, times=ALWAYS)

    assert "could not be completed: denied" in settle(opened, caplog)
    assert watched.calls["complete"] == 1
    assert pauses.made == []


def test_nobody_waits_past_the_end_of_the_lease(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    """In Lambda that is the end of the invocation."""
    opened = check.open(check.seal(BODY).body.decode(), lease_seconds=6)
    watched.fail("complete", times=ALWAYS)

    settle(opened, caplog)

    assert watched.calls["complete"] > 1
    assert sum(pauses.made) < 6 - holds.LAST_TRY_SECONDS


def test_a_lease_that_was_extended_lasts_longer(
    watched: Watched, check: ClaimCheck, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    opened = check.open(check.seal(BODY).body.decode(), lease_seconds=6)
    pauses.now += 5
    assert opened.extend(120)
    watched.fail("complete", times=3)

    assert settle(opened, caplog) == ""


@pytest.mark.parametrize("body", [BODY, "small"], ids=["stored", "small"])
def test_a_lease_that_ends_while_its_claim_is_opened_goes_on(
    watched: Watched, check: ClaimCheck, pauses: Pauses, clock: Clock, body: str
) -> None:
    """The store was slow, or the machine stood still."""
    sealed = check.seal(body).text

    def time_passes() -> None:
        pauses.now += 120
        clock.advance(120)

    watched.after("acquire", time_passes)

    with check.open(sealed, once="m-1@") as opened:
        assert opened.body == body
        with pytest.raises(ClaimInProgress) as held:
            check.open(sealed, once="m-1@")
    assert held.value.retry_after == 120


@pytest.mark.parametrize("body", [BODY, "small"], ids=["stored", "small"])
def test_no_handler_runs_if_another_delivery_came_meanwhile(
    watched: Watched, check: ClaimCheck, pauses: Pauses, clock: Clock, body: str
) -> None:
    sealed = check.seal(body).text

    def another_comes() -> None:
        pauses.now += 120
        clock.advance(120)
        with check.open(sealed, once="m-1@"):
            pass

    watched.after("acquire", another_comes)

    with pytest.raises(ClaimInProgress):
        check.open(sealed, once="m-1@")

    with pytest.raises(ClaimAlreadyProcessed):
        check.open(sealed, once="m-1@")
