"""Django's tasks on our queues: sent, run and refused, in one process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.test import TestCase
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from claimcheck.errors import SettingsInvalid
from claimcheck.integrations.django import drain
from claimcheck.integrations.django.tasks_api import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from letsgo_queue.admin import open_admin
from letsgo_queue.admin.watch import open_watch
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.integrations.django import tasks
from tests.claimcheck.integrations.django.conftest import IMMEDIATE, Configure


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    tasks.ran.clear()


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    yield
    connection.close()


def waiting(tmp_path: Path, queue: str = "default") -> list[dict[str, Any]]:
    """The messages on a queue."""
    if not (tmp_path / f"{queue}.db").exists():
        return []  # nothing was ever sent
    with closing(open_watch(f"sqlite:///{tmp_path}/{queue}.db", QueueSettings())) as watch:
        return [json.loads(each.body) for each in watch.peek(limit=100).messages]


def make_visible(url: str) -> None:
    """End the visibility timeout of every message in a queue's file."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE queue_messages SET visible_at = 0")
        connection.commit()


class TestEnqueue:
    def test_a_task_is_a_message_of_its_path(self, configure: Configure, tmp_path: Path) -> None:
        configure()

        result = tasks.add.enqueue(1, second=2)

        (message,) = waiting(tmp_path)
        assert message["type"] == "tests.claimcheck.integrations.django.tasks.add"
        assert message["payload"]["id"] == result.id
        assert (message["payload"]["args"], message["payload"]["kwargs"]) == ([1], {"second": 2})
        assert result.status == TaskResultStatus.READY
        assert result.enqueued_at is not None

    def test_it_runs_and_django_is_told(self, configure: Configure) -> None:
        configure()
        told: list[tuple[str, Any]] = []
        signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
        receivers = {
            name: (lambda *, task_result, name=name, **_: told.append((name, task_result)))
            for name in signals
        }
        for name, signal in signals.items():
            signal.connect(receivers[name])

        result = tasks.add.enqueue(1, 2)
        assert drain() == 1

        for name, signal in signals.items():
            signal.disconnect(receivers[name])
        assert tasks.ran == [(1, 2)]
        assert [name for name, _ in told] == ["enqueued", "started", "finished"]
        assert {each.id for _, each in told} == {result.id}
        assert told[-1][1].return_value == 3

    @pytest.mark.parametrize("what", ["bytes", "a tuple"])
    def test_what_it_returns_is_as_with_djangos_own_backends(
        self, configure: Configure, what: str
    ) -> None:
        configure(results={"cache": "default"})

        result = tasks.give.enqueue(what)
        drain()
        result.refresh()

        expected = tasks.give.using(backend=IMMEDIATE).enqueue(what)
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert result.return_value == expected.return_value

    @pytest.mark.parametrize(
        "what", ["a date", "a set in a dict", "bytes that are no text", "an object"]
    )
    def test_what_it_returns_may_be_no_json_and_it_is_not_run_again(
        self,
        configure: Configure,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        what: str,
    ) -> None:
        configure(results={"cache": "default"})

        result = tasks.give.enqueue(what)
        assert drain() == 1
        result.refresh()

        assert tasks.ran == [what]
        assert waiting(tmp_path) == []
        expected = tasks.give.using(backend=IMMEDIATE).enqueue(what)
        assert result.status == expected.status == TaskResultStatus.FAILED
        assert result.finished_at is not None
        (error,) = result.errors
        assert error.exception_class_path == expected.errors[0].exception_class_path
        ours = [each for each in caplog.records if each.name.startswith("claimcheck")]
        (said,) = [each.getMessage() for each in ours if each.levelname == "ERROR"]
        assert "is done, and is not run again" in said
        assert result.id in said

    async def _aenqueue(self) -> None:
        await tasks.add.aenqueue(3, 4)

    def test_aenqueue(self, configure: Configure) -> None:
        import asyncio

        configure(on_commit=False)

        asyncio.run(self._aenqueue())

        assert drain() == 1
        assert tasks.ran == [(3, 4)]

    def test_each_queue_has_its_own(self, configure: Configure, tmp_path: Path) -> None:
        configure()
        tasks.mail.enqueue("Ada")

        assert waiting(tmp_path, "default") == []
        assert drain(queues=["default"]) == 0
        assert drain(queues=["mail"]) == 1

    def test_arguments_of_any_size(self, configure: Configure, tmp_path: Path) -> None:
        configure()
        text = "x" * 600_000 + "".join(map(str, range(200_000)))

        tasks.mail.enqueue(text)

        (message,) = waiting(tmp_path, "mail")
        assert "claimCheck" in message
        drain()
        assert tasks.ran == [text]

    def test_a_deferred_task_is_delayed(self, configure: Configure, tmp_path: Path) -> None:
        configure()
        in_two_days = timezone.now() + timedelta(days=2)

        tasks.add.using(run_after=in_two_days).enqueue(1, 2)

        assert len(waiting(tmp_path)) == 1
        assert drain() == 0

    def test_the_context_has_the_attempt(self, configure: Configure) -> None:
        configure()
        tasks.with_context.enqueue("Ada")

        drain()

        assert tasks.ran == [(1, "with_context", "Ada")]

    def test_priority_picks_the_queue(self, configure: Configure, tmp_path: Path) -> None:
        normal, urgent = (f"sqlite:///{tmp_path}/{name}.db" for name in ("normal", "urgent"))
        configure(["default"], urls={"default": {0: normal, 50: urgent}})

        for priority in (-10, 0, 49, 50, 100):
            tasks.add.using(priority=priority).enqueue(priority, 0)

        counts = []
        for url in (normal, urgent):
            with closing(open_admin(url, QueueSettings())) as admin:
                counts.append(admin.status().waiting)
        assert counts == [3, 2]
        drain()
        assert {first for first, _ in tasks.ran[:2]} == {50, 100}


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"priority": 5}, "priority"),
            ({"queue_name": "none"}, "not valid for"),
            ({"run_after": datetime.now().astimezone() + timedelta(days=15)}, "14 days"),
        ],
    )
    def test_before_anything_is_sent(
        self, configure: Configure, tmp_path: Path, change: dict[str, Any], text: str
    ) -> None:
        configure()

        with pytest.raises(InvalidTask, match=text):
            tasks.add.using(**change).enqueue(1, 2)

        assert waiting(tmp_path) == []

    def test_what_json_cannot_say(self, configure: Configure, tmp_path: Path) -> None:
        configure()

        with pytest.raises(TypeError):
            tasks.mail.enqueue(object())

    def test_a_message_that_is_no_task(self, configure: Configure) -> None:
        backend = configure()
        backend.client("default", 0).enqueue({"type": "os.getcwd", "payload": {"a": "secret"}})

        with pytest.raises(Exception, match="no task") as raised:
            drain()
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("path", ["os.getcwd", "tests.nothing.here", "no"])
    def test_a_path_that_is_no_task(self, configure: Configure, path: str) -> None:
        backend = configure()
        tasks.add.enqueue(1, 2)
        client = backend.client("default", 0)
        with closing(open_watch(client.transport().url, QueueSettings())) as watch:
            message = json.loads(watch.peek(limit=1).messages[0].body)
        drain()
        client.enqueue({**message, "type": path})

        with pytest.raises(Exception, match="task"):
            drain()


class TestTransactions(TestCase):  # type: ignore[misc]  # Django has no types here
    """In a `TestCase`, whose own transaction is never committed."""

    @pytest.fixture(autouse=True)
    def backend(self, configure: Configure, tmp_path: Path) -> None:
        configure()
        self.folder = tmp_path

    def test_a_task_is_sent_on_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            result = tasks.add.enqueue(1, 2)
            before = result.enqueued_at
            assert waiting(self.folder) == []

        assert before is None
        assert result.enqueued_at is not None
        assert drain() == 1

    def test_nothing_is_sent_of_what_is_rolled_back(self) -> None:
        def enqueue_and_fail() -> None:
            with transaction.atomic():
                tasks.add.enqueue(1, 2)
                raise ZeroDivisionError

        with self.captureOnCommitCallbacks(execute=True), pytest.raises(ZeroDivisionError):
            enqueue_and_fail()

        assert waiting(self.folder) == []

    def test_drained_tasks_see_the_transaction_and_are_part_of_it(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.make_group.enqueue("sync")
            tasks.make_group_async.enqueue("async")

        assert drain() == 2

        assert tasks.ran == [True]
        assert Group.objects.count() == 2

    def test_what_a_task_raises_is_raised(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.fail.enqueue("no")

        with pytest.raises(ZeroDivisionError, match="no"):
            drain()


def test_at_once_in_a_transaction(configure: Configure, tmp_path: Path) -> None:
    configure(on_commit=False)

    with transaction.atomic():
        tasks.add.enqueue(1, 2)
        assert len(waiting(tmp_path)) == 1


def test_the_database_whose_transaction_counts_is_named(configure: Configure) -> None:
    configure(database="replica")

    with pytest.raises(ConnectionDoesNotExist, match="replica"):
        tasks.add.enqueue(1, 2)


@pytest.mark.parametrize("once", [True, False])
def test_with_once_a_copy_of_what_was_done_does_not_run(configure: Configure, once: bool) -> None:
    backend = configure(store="memory://once", once=once)
    tasks.add.enqueue(1, 2)
    transport = backend.client("default", 0).transport()
    delete, transport.delete = transport.delete, lambda message: None  # that is lost

    drain()
    transport.delete = delete
    make_visible(transport.url)
    drain()

    assert tasks.ran == [(1, 2)] * (1 if once else 2)


class TestResults:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path) -> Iterator[None]:
        from django.core.cache import caches
        from django.test import override_settings

        place = {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "cache"),
        }
        with override_settings(CACHES={"default": place}):
            yield
            caches["default"].clear()

    def test_a_result_is_what_the_task_returned(self, configure: Configure) -> None:
        configure(results={"cache": "default"})
        result = tasks.add.enqueue(1, 2)
        assert tasks.add.get_result(result.id).status == TaskResultStatus.READY

        drain()
        result.refresh()

        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
        assert result.attempts == 1

    def test_a_failure_says_which_error(self, configure: Configure) -> None:
        configure(results={"cache": "default"})
        result = tasks.fail.enqueue("no")

        with pytest.raises(ZeroDivisionError):
            drain()
        result.refresh()

        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class is ZeroDivisionError

    def test_an_unknown_result(self, configure: Configure) -> None:
        configure(results={"cache": "default"})

        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result("none")

    def test_without_the_option_none_is_kept(self, configure: Configure) -> None:
        configure()
        result = tasks.add.enqueue(1, 2)

        with pytest.raises(NotImplementedError):
            tasks.add.get_result(result.id)


class TestSettings:
    @pytest.mark.parametrize(
        ("options", "queues", "text"),
        [
            ({"urls": {"default": "ftp://x"}}, ["default"], "claimcheck.E003"),
            ({"urls": {}}, ["mail"], "'mail' has no URL"),
            ({"urls": {"mail": "memory://"}}, ["default"], "not in QUEUES"),
            ({"store": "ftp://x"}, ["default"], "claimcheck.E003"),
        ],
    )
    def test_check_says_what_is_missing(
        self, configure: Configure, options: dict[str, Any], queues: list[str], text: str
    ) -> None:
        backend = configure(queues, **options)

        assert text in "".join(str(each) for each in backend.check())

    def test_check_has_nothing_to_say_of_what_is_right(self, configure: Configure) -> None:
        assert list(configure().check()) == []

    def test_check_asks_for_the_app(self, configure: Configure, monkeypatch: Any) -> None:
        from django.apps import apps

        backend = configure()
        monkeypatch.setattr(apps, "is_installed", lambda name: False)

        assert "INSTALLED_APPS" in str(next(iter(backend.check())))

    @pytest.mark.parametrize(
        "options",
        [{"colour": "red"}, {"urls": "x"}, {"results": {}}, {"urls": {"default": {200: "x"}}}],
    )
    def test_options_that_are_none(self, configure: Configure, options: dict[str, Any]) -> None:
        with pytest.raises(SettingsInvalid, match="The options are"):
            configure(**options)

    def test_the_command_refuses_in_one_line(self, configure: Configure) -> None:
        configure()

        with pytest.raises(CommandError, match="has no queue 'none'"):
            call_command("letsgo_worker", queue=["none"])
