"""Django's tasks in a sandbox: with the settings of production, and nothing leaves the process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.test import TestCase, override_settings
from django.utils import timezone

from claimcheck.integrations.django import drain
from letsgo_queue.testing import Sandbox
from tests.claimcheck.integrations.django import tasks

SQS = "https://sqs.eu-west-1.amazonaws.com/123456789012"
PRODUCTION = {
    "default": {
        "BACKEND": "claimcheck.integrations.django.SqsBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {
            "urls": {"default": f"{SQS}/shop", "mail": f"{SQS}/mail"},
            "store": "dynamodb://claims",
        },
    }
}
PATH = "tests.claimcheck.integrations.django.tasks"


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    call_command("migrate", verbosity=0)
    yield
    connection.close()


@override_settings(TASKS=PRODUCTION)
class TestTasks(TestCase):  # type: ignore[misc]  # Django has no types here
    sandbox: Sandbox

    def setUp(self) -> None:
        tasks.ran.clear()
        self.sandbox = self.enterContext(Sandbox())

    def test_a_task_runs_in_the_transaction_of_the_test(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.make_group.enqueue("Ada")
            tasks.make_group_async.enqueue("x" * 600_000)

        assert [sent.queue for sent in self.sandbox.outbox] == [f"{SQS}/shop"] * 2
        assert self.sandbox.outbox.of(f"{PATH}.make_group_async")[0].route == "compressed"
        assert drain() == 2
        assert tasks.ran == [True]
        assert Group.objects.count() == 2

    def test_what_a_task_enqueues_runs_too_on_whichever_queue(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.mail_and_add.enqueue("Ada")

        with self.captureOnCommitCallbacks(execute=True):
            assert drain() == 2
        # Once, and not what a task rolled back.
        assert drain() == 0
        assert tasks.ran == ["Ada", (1, 2)]

    def test_a_deferred_task_runs_when_time_has_passed(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.add.using(run_after=timezone.now() + timedelta(days=2)).enqueue(1, 2)

        assert drain() == 0
        self.sandbox.advance(timedelta(days=2))
        assert drain() == 1

    def test_what_a_task_raises_is_raised(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            tasks.fail.enqueue("told")

        with pytest.raises(ZeroDivisionError, match="told"):
            drain()

    async def test_in_an_async_test(self) -> None:
        @sync_to_async
        def enqueue() -> None:
            with self.captureOnCommitCallbacks(execute=True):
                tasks.make_group.enqueue("Ada")

        await enqueue()
        assert await sync_to_async(drain)() == 1
        assert await Group.objects.acount() == 1
