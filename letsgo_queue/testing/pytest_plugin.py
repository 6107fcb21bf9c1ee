"""The pytest plugin: fixtures for tests of code that enqueues and handles messages.

An entry point registers it. Nothing is loaded before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from letsgo_queue.testing import LambdaFixture, Outbox, Sandbox, WorkerFixture


@pytest.fixture
def letsgo_sandbox() -> Iterator[Sandbox]:
    """Queues and claims of this test alone, in memory, and a clock that the test moves."""
    from letsgo_queue.testing import Sandbox

    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def letsgo_outbox(letsgo_sandbox: Sandbox) -> Outbox:
    """All that is enqueued in this test, in order."""
    return letsgo_sandbox.outbox


@pytest.fixture
def letsgo_worker(letsgo_sandbox: Sandbox) -> WorkerFixture:
    """Gives a worker, whose `drain()` handles due messages on the test's own thread."""
    return letsgo_sandbox.worker


@pytest.fixture
def letsgo_lambda(letsgo_sandbox: Sandbox) -> LambdaFixture:
    """Gives a Lambda function, whose `drain()` invokes it with due messages, as AWS does."""
    return letsgo_sandbox.lambda_function
