"""What fails around a task of Django's costs no other task, and no task twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection, connections, transaction
from django.db.backends.dummy.base import DatabaseWrapper
from django.test import override_settings
from django.utils.asyncio import async_unsafe

from claimcheck import BodyTooLarge
from claimcheck.integrations.django import drain
from claimcheck.integrations.django.running import workers_for
from claimcheck.integrations.django.tasks_api import (
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from letsgo_queue import Client, MessageInvalid, QueueUnavailable
from letsgo_queue.testing import drain as drain_workers
from tests.claimcheck.integrations.django import tasks
from tests.claimcheck.integrations.django.conftest import Configure


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    tasks.ran.clear()


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    yield
    connection.close()


class UnsafeCache(LocMemCache):  # type: ignore[misc]  # Django has no types here
    """As a cache in a database is: it refuses to be asked on an event loop."""

    add = async_unsafe(LocMemCache.add)
    set = async_unsafe(LocMemCache.set)


class BrokenCache(LocMemCache):  # type: ignore[misc]  # Django has no types here
    """It is down by the time that a task is done, or always."""

    ends_only = True

    def set(self, key: str, value: str, *arguments: Any, **options: Any) -> None:
        if "SUCCESSFUL" in value or not self.ends_only:
            raise ConnectionError(value)
        super().set(key, value, *arguments, **options)

    def add(self, key: str, value: str, *arguments: Any, **options: Any) -> bool:
        if not self.ends_only:
            raise ConnectionError(value)
        return bool(super().add(key, value, *arguments, **options))


@pytest.fixture
def results() -> Iterator[dict[str, str]]:
    """Results are kept in one of these caches."""
    caches = {
        each.__name__: {"BACKEND": f"{each.__module__}.{each.__qualname__}", "LOCATION": "results"}
        for each in (LocMemCache, UnsafeCache, BrokenCache)
    }
    with override_settings(CACHES={"default": caches["LocMemCache"], **caches}):
        yield {"cache": "LocMemCache"}
        LocMemCache("results", {}).clear()


def enqueue_and_roll_back(text: str) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        tasks.mail.enqueue(text)
        raise ZeroDivisionError


class TestOnCommit:
    def test_a_task_that_is_refused_costs_no_other_of_its_transaction(
        self,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_MAX_SIZE", "260000")
        configure()

        @transaction.atomic  # type: ignore[untyped-decorator]  # Django has no types here
        def order() -> None:
            tasks.mail.enqueue("first")
            tasks.mail.enqueue("x" * 300_000)
            with transaction.atomic():
                tasks.add.enqueue(1, 2)
            enqueue_and_roll_back("in a savepoint")
            refused.append(tasks.mail.enqueue("y" * 300_000))
            tasks.mail.enqueue("last")
            enqueue_and_roll_back("in another")

        refused: list[Any] = []
        with pytest.raises(BodyTooLarge):
            order()

        drain()
        assert tasks.ran == [(1, 2), "first", "last"]
        [line] = [each for each in caplog.messages if "was not sent" in each]
        assert refused[0].id in line
        assert "yyy" not in caplog.text

    def test_a_queue_that_is_away_is_asked_once(
        self,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        configure()
        asked: list[object] = []

        def enqueue(self: object, message: object, **options: object) -> None:
            asked.append(message)
            raise QueueUnavailable("the test says so")

        @transaction.atomic  # type: ignore[untyped-decorator]  # Django has no types here
        def order() -> None:
            sent.extend(tasks.mail.enqueue(name) for name in ("Ada", "Bob", "Eve"))

        monkeypatch.setattr(Client, "enqueue", enqueue)
        sent: list[Any] = []
        with pytest.raises(QueueUnavailable):
            order()

        assert len(asked) == 1
        lines = [each for each in caplog.messages if "was not sent" in each]
        assert len(lines) == 2
        assert all(result.id in line for result, line in zip(sent[1:], lines, strict=True))

    @pytest.mark.parametrize("in_transaction", [True, False])
    def test_what_would_arrive_as_something_else_is_refused_before_the_commit(
        self, configure: Configure, in_transaction: bool
    ) -> None:
        configure(on_commit=in_transaction)

        with transaction.atomic():
            with pytest.raises(MessageInvalid, match="NaN"):
                tasks.mail.enqueue(float("nan"))
            tasks.mail.enqueue("Ada")

        drain()
        assert tasks.ran == ["Ada"]

    def test_a_project_without_a_database_sends_tasks(
        self, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure()
        before = connections["default"]
        connections["default"] = DatabaseWrapper(before.settings_dict, "default")
        try:
            tasks.add.enqueue(1, 2)
        finally:
            connections["default"] = before

        drain()
        assert tasks.ran == [(1, 2)]


class TestResults:
    def test_a_worker_that_is_quicker_than_the_sender_is_believed(
        self, configure: Configure, results: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configure(results=results)
        enqueue = Client.enqueue

        def enqueue_and_run(self: Client[Any], *arguments: Any, **options: Any) -> Any:
            sent = enqueue(self, *arguments, **options)
            drain()
            return sent

        monkeypatch.setattr(Client, "enqueue", enqueue_and_run)
        result = tasks.add.enqueue(1, 2)

        result.refresh()
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)

    @pytest.mark.parametrize("ends_only", [True, False])
    def test_a_cache_that_is_down_has_no_task_sent_or_run_twice(
        self,
        configure: Configure,
        results: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        ends_only: bool,
    ) -> None:
        monkeypatch.setattr(BrokenCache, "ends_only", ends_only)
        configure(results={"cache": "BrokenCache"})
        result = tasks.mail.enqueue("secret")  # which does not raise: the message is on the queue

        assert drain() == 1
        assert drain() == 0
        assert tasks.ran == ["secret"]
        assert f"the result of task {result.id}" in caplog.text
        assert "secret" not in caplog.text

    def test_a_receiver_that_raises_has_no_task_sent_or_run_twice(
        self, configure: Configure
    ) -> None:
        def fail(**_: object) -> None:
            raise ZeroDivisionError

        configure()
        signals = (task_enqueued, task_started, task_finished)
        for signal in signals:
            signal.connect(fail)
        try:
            tasks.add.enqueue(1, 2)
            assert drain() == 1
            assert drain() == 0
        finally:
            for signal in signals:
                signal.disconnect(fail)
        assert tasks.ran == [(1, 2)]


class TestAsyncTasks:
    def test_results_and_receivers_may_do_what_an_event_loop_forbids(
        self,
        configure: Configure,
        results: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.setenv("SHOP_JOURNAL", str(tmp_path / "journal"))
        configure(["default"], results={"cache": "UnsafeCache"})
        heard: list[str] = []

        @async_unsafe  # type: ignore[untyped-decorator]  # Django has no types here
        def hear(**_: object) -> None:
            heard.append("sync")

        async def hear_async(**_: object) -> None:
            await asyncio.sleep(0)
            heard.append("async")

        result = tasks.on_the_loop.enqueue("Ada")
        task_finished.connect(hear)
        task_started.connect(hear_async)
        try:
            assert drain_workers(*workers_for()) == 1
        finally:
            task_finished.disconnect(hear)
            task_started.disconnect(hear_async)

        assert heard == ["async", "sync"]
        result.refresh()
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert (tmp_path / "journal").read_text().endswith(" Ada\n")
