"""Queues and claims of one test alone, in memory, and a clock that the test moves.

While a sandbox is open, every client and every worker of this process uses its queues, whatever
queue they name, and its claim store. So no message of the test leaves the process. All else is as
in production: a message is written, goes through the client's middleware, is sealed if it is large,
and is read again for its handler.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

from letsgo_queue import in_test
from letsgo_queue.durations import Duration
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import listen_to_all
from letsgo_queue.settings import url_in_environment
from letsgo_queue.testing.lambda_function import DEFAULT_BATCH, LambdaInTest
from letsgo_queue.testing.outbox import Outbox
from letsgo_queue.testing.queues import QueueInTest
from letsgo_queue.testing.surroundings import Surroundings
from letsgo_queue.testing.workers import LoopInTest, WorkerInTest
from letsgo_queue.worker.worker import Worker


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
    """Queues and claims of one test alone. pytest's fixtures make one; elsewhere use `with`.

        with Sandbox() as sandbox:
            upload(prices)
            sandbox.worker(worker).drain()
            assert sandbox.outbox.one("prices:import").route == "stored"

    A `unittest.TestCase` opens it with `self.enterContext(Sandbox())`. It holds for all threads of
    the process. A transport that your code makes, and hands to a client or a worker, stays in use.
    """

    def __init__(self) -> None:
        self._surroundings = Surroundings()
        self._loop = LoopInTest()
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Have everything in this process use it."""
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            stack.callback(in_test.set_surroundings, in_test.surroundings())
            in_test.set_surroundings(self._surroundings)
            stack.callback(listen_to_all(self._surroundings.recorder.hear))
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

    @property
    def outbox(self) -> Outbox:
        """All that is enqueued in it."""
        return self._surroundings.outbox

    def worker(self, *workers: Worker, max_receives: int | None = None) -> WorkerInTest:
        """Workers to drain.

        Args:
            workers: The workers that take part. Messages that one enqueues for another are handled
                too.
            max_receives: Receives after which a message that fails is a dead letter, in place of
                the redrive policy of their queues. By default a message comes again however often
                it fails, unless a retry policy or the URL of a SQLite queue ends that.

        Raises:
            SettingsInvalid: No worker is given, or something that is no worker.
        """
        if not workers or not all(isinstance(each, Worker) for each in workers):
            raise SettingsInvalid("give one worker or more: letsgo_worker(worker).drain()")
        if max_receives is not None:
            for worker in workers:
                if isinstance(queue := worker._transport(), QueueInTest):
                    queue.most_receives = max_receives
        return WorkerInTest(workers, self._surroundings, self._loop)

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
            batch_size: The most messages in an event.
        """
        url = url_in_environment() if queue is None else queue
        found = self._surroundings.queue(url)
        return LambdaInTest(function, found, self._surroundings, batch_size=batch_size)

    def advance(self, seconds: Duration) -> None:
        """Let time pass for all its queues and claims: delayed messages and retries become due.

        Otherwise their time stands still. The time that your own code sees does not change.

        Args:
            seconds: Seconds, or a timedelta.

        Raises:
            SettingsInvalid: It is below 0, endless, or no duration.
        """
        self._surroundings.advance(seconds)
