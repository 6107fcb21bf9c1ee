"""Sealing and opening for asyncio: the event loop stays free, and no task leaves a claim behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from claimcheck import ClaimAlreadyProcessed, ClaimCheck, ClaimInProgress
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.core.lives import BODY
from tests.claimcheck.support import claim_record, parts_left, small_claim_check
from tests.claimcheck.watched import Watched


@pytest.fixture
def watched(store: MemoryClaimStore) -> Watched:
    return Watched(store)


@pytest.fixture
def check(watched: Watched) -> ClaimCheck:
    return small_claim_check(watched.store)


def test_a_block_that_ends_completes_the_claim(watched: Watched, check: ClaimCheck) -> None:
    async def work() -> None:
        sealed = await check.aseal(BODY, type="order:new")
        async with check.aopen(sealed.text, message_id="m-1", lease_seconds=30) as opened:
            assert opened.body == BODY
            assert claim_record(watched.behind, sealed.body) == Record("leased", 30)
            with pytest.raises(ClaimInProgress):
                check.open(sealed.text)
        assert claim_record(watched.behind, sealed.body) == Record("done", 0)
        with pytest.raises(ClaimAlreadyProcessed, match="m-1"):
            async with check.aopen(sealed.text, message_id="m-1"):
                pytest.fail("a duplicate was opened")

    asyncio.run(work())


def test_a_block_that_raises_releases_it(watched: Watched, check: ClaimCheck) -> None:
    async def work() -> None:
        sealed = await check.aseal(BODY)
        with pytest.raises(ZeroDivisionError):
            async with check.aopen(sealed.text):
                raise ZeroDivisionError
        assert claim_record(watched.behind, sealed.body) is None
        async with check.aopen(sealed.text) as opened:
            assert opened.body == BODY

    asyncio.run(work())


def test_a_body_that_was_not_sent_is_discarded(watched: Watched, check: ClaimCheck) -> None:
    async def work() -> None:
        sealed = await check.aseal(BODY)
        await check.adiscard(sealed)
        assert parts_left(watched.behind, sealed.body) == 0

    asyncio.run(work())


def test_a_store_that_does_not_answer_leaves_the_event_loop_free(
    watched: Watched, check: ClaimCheck
) -> None:
    sealed = check.seal(BODY)
    go_on = threading.Event()
    watched.before("acquire", lambda: go_on.wait(30))

    async def work() -> None:
        async with check.aopen(sealed.text) as opened:
            assert opened.body == BODY

    async def both() -> None:
        await asyncio.gather(work(), asyncio.to_thread(go_on.set))

    asyncio.run(both())
    assert go_on.is_set()


class TestACancelledTask:
    """It is cancelled while a store is at a step, and ends when the store has done it."""

    def cancel_in(
        self, watched: Watched, step: str, start: Callable[[], Coroutine[Any, Any, object]]
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            assert go_on.wait(30)

        watched.before(step, wait)

        async def run() -> None:
            task = asyncio.ensure_future(start())
            assert await asyncio.to_thread(begun.wait, 30)
            for _ in range(2):
                task.cancel()
                await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())

    def test_sealing_leaves_nothing_in_the_store(
        self, store: MemoryClaimStore, watched: Watched, check: ClaimCheck
    ) -> None:
        self.cancel_in(watched, "write", lambda: check.aseal(BODY))

        assert watched.calls["write"] == watched.calls["remove"] == 1
        assert not store._contents

    def test_sealing_says_what_could_not_be_removed(
        self, watched: Watched, check: ClaimCheck, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.fail("remove")

        with caplog.at_level(logging.WARNING):
            self.cancel_in(watched, "write", lambda: check.aseal(BODY))

        assert "is left to expire: the test says so" in caplog.text

    @pytest.mark.parametrize("step", ["acquire", "complete"])
    def test_opening_leaves_the_claim_to_others_or_done(
        self, watched: Watched, check: ClaimCheck, step: str
    ) -> None:
        sealed = check.seal(BODY)

        async def work() -> None:
            async with check.aopen(sealed.text):
                """Nothing to do."""

        self.cancel_in(watched, step, work)

        done = Record("done", 0) if step == "complete" else None
        assert claim_record(watched.behind, sealed.body) == done

    def test_in_its_block_releases_the_claim(self, watched: Watched, check: ClaimCheck) -> None:
        sealed = check.seal(BODY)

        async def run() -> None:
            inside = asyncio.Event()

            async def work() -> None:
                async with check.aopen(sealed.text):
                    inside.set()
                    await asyncio.sleep(60)

            task = asyncio.ensure_future(work())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())
        assert claim_record(watched.behind, sealed.body) is None
