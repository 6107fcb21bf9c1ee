"""`@unwrap_claim_check` on functions of every kind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from claimcheck import Purge, SettingsInvalid, unwrap_claim_check
from tests.claimcheck.lambda_claims import (
    Claims,
    Function,
    event_of,
    failed,
    ids_in,
    record_of,
)
from tests.claimcheck.support import message_body, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SMALL = message_body("order:new", "small")

Event = dict[str, Any]


class TestFunctions:
    @pytest.fixture
    def body(self, claims: Claims) -> str:
        return claims.sealed()

    @pytest.fixture
    def event(self, body: str) -> Event:
        return event_of(record_of(body, "a"))

    def test_async(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> str:
            await asyncio.sleep(0)
            assert claims.state(body) == "held"
            return str(event["Records"][0]["body"])

        assert asyncio.run(handler(event, Context())) == claims.originals[body]
        assert claims.state(body) == "done"

    def test_async_that_raises(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(handler(event, Context()))
        assert claims.state(body) == "there"

    def test_async_while_all_threads_of_the_loop_are_busy(
        self, claims: Claims, body: str, event: Event
    ) -> None:
        release = threading.Event()

        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> str:
            return str(event["Records"][0]["body"])

        async def program() -> str:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            busy = loop.run_in_executor(None, release.wait)
            try:
                return await asyncio.wait_for(handler(event, Context()), 20)
            finally:
                release.set()
                await busy

        assert asyncio.run(program()) == claims.originals[body]

    def test_async_with_nothing_left(self, claims: Claims, body: str, event: Event) -> None:
        claims.hold(body)

        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            raise AssertionError

        assert asyncio.run(handler(event, Context())) == failed("a")

    def test_async_with_nothing_to_open(self, claims: Claims) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> list[str]:
            return ids_in(event)

        assert asyncio.run(handler(event_of(record_of(SMALL, "a")), None)) == ["a"]

    def test_async_that_is_cancelled(self, claims: Claims, body: str, event: Event) -> None:
        started = asyncio.Event()

        @unwrap_claim_check(claim_check=claims.check)
        async def handler(event: Event, context: object) -> None:
            started.set()
            await asyncio.Event().wait()

        async def cancel() -> None:
            task = asyncio.create_task(handler(event, Context()))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert claims.state(body) == "there"

    @pytest.mark.parametrize("purge", ["after", "before"])
    def test_async_that_is_cancelled_while_it_is_opened(self, claims: Claims, purge: Purge) -> None:
        acquiring, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            acquiring.set()
            assert go_on.wait(20)

        body = claims.sealed()
        watched = Watched(claims.store)
        watched.before("acquire", wait)

        @unwrap_claim_check(claim_check=small_claim_check(watched.store), purge=purge)
        async def handler(event: Event, context: object) -> None:
            raise AssertionError

        async def cancel() -> None:
            task = asyncio.create_task(handler(event_of(record_of(body, "a")), Context()))
            await asyncio.to_thread(acquiring.wait, 20)
            task.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert claims.state(body) == "there"

    def test_async_that_is_cancelled_again_while_it_is_opened(self, claims: Claims) -> None:
        acquiring, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            acquiring.set()
            assert go_on.wait(20)

        body = claims.sealed()
        watched = Watched(claims.store)
        watched.before("acquire", wait)

        @unwrap_claim_check(claim_check=small_claim_check(watched.store))
        async def handler(event: Event, context: object) -> None:
            raise AssertionError

        async def cancel_twice() -> None:
            task = asyncio.create_task(handler(event_of(record_of(body, "a")), Context()))
            await asyncio.to_thread(acquiring.wait, 20)
            for _ in range(2):
                task.cancel()
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert claims.state(body) == "there"

        asyncio.run(cancel_twice())

    def test_one_that_only_returns_a_coroutine(
        self, claims: Claims, body: str, event: Event
    ) -> None:
        async def work(event: Event, context: object) -> str:
            await asyncio.sleep(0)
            assert claims.state(body) == "held"
            return str(event["Records"][0]["body"])

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: object) -> Any:
            return work(event, context)

        assert asyncio.run(handler(event, Context())) == claims.originals[body]
        assert claims.state(body) == "done"

    def test_a_method(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            @unwrap_claim_check(claim_check=claims.check)
            def handler(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        assert App().handler(event, None) == claims.originals[body]
        assert claims.state(body) == "done"

    @pytest.mark.parametrize(
        "name", ["static_outside", "static_inside", "class_outside", "class_inside"]
    )
    def test_a_static_or_class_method(
        self, claims: Claims, body: str, event: Event, name: str
    ) -> None:
        unwrap = unwrap_claim_check(claim_check=claims.check)

        class App:
            @staticmethod
            @unwrap
            def static_outside(event: Event, _context: object) -> str:
                return str(event["Records"][0]["body"])

            @unwrap
            @staticmethod
            def static_inside(event: Event, _context: object) -> str:
                return str(event["Records"][0]["body"])

            @classmethod
            @unwrap
            def class_outside(cls, event: Event, _context: object) -> str:
                return str(event["Records"][0]["body"])

            @unwrap
            @classmethod
            def class_inside(cls, event: Event, _context: object) -> str:
                return str(event["Records"][0]["body"])

        for owner in (App, App()):
            assert getattr(owner, name)(event, None) == claims.originals[body]
            assert claims.state(body) == "done"
            body = claims.sealed(2)
            event = event_of(record_of(body, "b"))

    def test_a_method_called_with_super(self, claims: Claims, body: str, event: Event) -> None:
        class Base:
            body = claims.sealed(2)

            @unwrap_claim_check(claim_check=claims.check)
            def handler(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        class App(Base):
            def handler(self, event: Event, context: object) -> str:
                return super().handler(event, context)

        assert App().handler(event, None) == claims.originals[body]
        assert claims.state(App.body) == "there"

    def test_a_bound_method(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            def handler(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        handler = unwrap_claim_check(claim_check=claims.check)(App().handler)

        assert handler(event, None) == claims.originals[body]

    def test_an_object_with_an_async_call(self, claims: Claims, body: str, event: Event) -> None:
        class App:
            async def __call__(self, event: Event, context: object) -> str:
                return str(event["Records"][0]["body"])

        handler = unwrap_claim_check(claim_check=claims.check)(App())

        assert asyncio.run(handler(event, None)) == claims.originals[body]

    def test_called_by_name(self, claims: Claims, body: str, event: Event) -> None:
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: object) -> str:
            return str(event["Records"][0]["body"])

        assert handler(context=None, event=event) == claims.originals[body]

    def test_a_generator_is_refused(self) -> None:
        def handler(event: Event, context: object) -> Iterator[None]:
            yield

        with pytest.raises(SettingsInvalid, match="handler is a generator: calling it would run"):
            unwrap_claim_check(handler)

    def test_decorated_twice_it_opens_once(self, claims: Claims, body: str, event: Event) -> None:
        once = unwrap_claim_check(claim_check=claims.check)
        function = Function(claims)

        once(once(function))(event, Context())

        assert function.seen[0]["Records"][0]["body"] == claims.originals[body]
        assert function.states == ["held"]
        assert claims.state(body) == "done"
