"""Queues and claims of one test alone, in memory, and a clock that the test moves.

While a sandbox is open, every client and every worker of this process is on its queues, whatever
queue they name, and claims are kept in its store. So no message of the test leaves the process. All
else is as in production: a message is written, goes through the client's middleware, is sealed if
it is large, and is read again for its handler.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

from letsgo_queue import in_test
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import listen_to_all
from letsgo_queue.forking import Lock
from letsgo_queue.settings import url_in_environment
from letsgo_queue.testing.lambda_function import DEFAULT_BATCH, LambdaInTest
from letsgo_queue.testing.outbox import Outbox, Recorder
from letsgo_queue.testing.queues import QueueInTest, queue_like
from letsgo_queue.testing.workers import LoopInTest, WorkerInTest
from letsgo_queue.worker.worker import Worker

ValueT = TypeVar("ValueT")


class WorkerFixture(Protocol):
    """The fixture `letsgo_worker`; see `Sandbox.worker`."""

    def __call__(self, *workers: Worker, max_receives: int | None = None) -> WorkerInTest:
        """Give workers to drain."""
        ...


class LambdaFixture(Protocol):
    """The fixture `letsgo_lambda`; see `Sandbox.lambda_function`."""

    def __call__(
        self,
        function: Callable[[Any, Any], object],
        *,
        queue: str | None = None,
        batch_size: int = DEFAULT_BATCH,
    ) -> LambdaInTest:
        """Give a function to drain."""
        ...


class Sandbox:
    """Queues and claims of one test alone. pytest's fixtures make one; elsewhere it is a block.

        with Sandbox() as sandbox:
            upload(prices)
            sandbox.worker(worker).drain()
            assert sandbox.outbox.one("prices:import").route == "stored"

    A `unittest.TestCase` opens it with `self.enterContext(Sandbox())`. It holds for all threads of
    the process. A transport that your code makes, and hands to a client or a worker, stays in use.

    Attributes:
        outbox: All that is enqueued in it.
    """

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.recorder = Recorder(self.outbox)
        self.loop = LoopInTest()
        self._now = float(math.floor(time.time()))
        self._queues: dict[str | None, QueueInTest] = {}
        self._kept: dict[Hashable, object] = {}
        self._lock = Lock()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Have everything in this process use it."""
        with ExitStack() as stack:
            stack.callback(self.loop.close)
            stack.callback(in_test.set_sandbox, in_test.sandbox())
            in_test.set_sandbox(self)
            stack.callback(listen_to_all(self.recorder.hear))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forget its queues and claims; all is as it was before."""
        self._exit.close()

    def worker(self, *workers: Worker, max_receives: int | None = None) -> WorkerInTest:
        """Workers to drain.

        Args:
            workers: Those that take part: what one enqueues for another is handled too.
            max_receives: After how many receives a message that fails is a dead letter, as the
                redrive policy of their queues has it. By default as often as it fails it comes
                again, unless a retry policy ends that, or the URL of a SQLite queue.
        """
        if max_receives is not None:
            for worker in workers:
                if isinstance(queue := worker._transport(), QueueInTest):
                    queue.most_receives = max_receives
        return WorkerInTest(workers, self)

    def lambda_function(
        self,
        function: Callable[[Any, Any], object],
        *,
        queue: str | None = None,
        batch_size: int = DEFAULT_BATCH,
    ) -> LambdaInTest:
        """A Lambda function behind a queue, to drain.

        Args:
            function: It takes `(event, context)`.
            queue: URL of the queue; by default that of the environment, as for a client.
            batch_size: Messages in an event at most.
        """
        url = url_in_environment() if queue is None else queue
        return LambdaInTest(function, self.transport(url), self, batch_size=batch_size)

    def now(self) -> float:
        """Seconds since 1970. Only `advance` moves it."""
        return self._now

    def advance(self, seconds: Duration) -> None:
        """Let time pass for all its queues and claims: delayed messages and retries become due.

        Args:
            seconds: Seconds, or a timedelta.

        Raises:
            SettingsInvalid: It is below 0, or none.
        """
        passed = seconds_in(seconds, "advance", SettingsInvalid)
        if not 0 <= passed < math.inf:
            raise SettingsInvalid(f"advance={passed:.15g}: give 0 seconds or more.")
        self._now += passed

    def transport(self, url: str | None) -> QueueInTest:
        """The queue that stands for another one.

        Args:
            url: URL of the other one; None for code that names none.

        Raises:
            SettingsInvalid: The URL names no queue.
        """
        with self._lock:
            try:
                known = self._queues.get(url)
            except TypeError:  # a list, or the like
                known = None
            if known is None:
                known = queue_like(url, clock=self.now)
                self._queues[url] = known
            return known

    def alias(self, url: str, queue: QueueInTest) -> None:
        """Have another URL name a queue too."""
        with self._lock:
            self._queues[url] = queue

    def kept(self, key: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """A value of this sandbox, made when it is first asked for.

        Args:
            key: Names it.
            make: Makes it.
        """
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return cast("ValueT", self._kept[key])
