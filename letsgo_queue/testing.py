"""For the tests of those who use this package."""

from __future__ import annotations

from letsgo_queue.events import Event, MessageFailed, MessageRejected, listen_to_all
from letsgo_queue.worker.processing import Hold
from letsgo_queue.worker.worker import Worker

__all__ = ["drain"]


def drain(worker: Worker) -> int:
    """Handle all that is due on a worker's queue, one after another, on this thread.

        enqueue(OrderNew(payload=order))
        assert drain(worker) == 1

    Sync handlers run here, inside a transaction that the test has open, and async ones on the
    worker's event loop. What they enqueue is handled too, if it is due.

    Args:
        worker: The worker, which must not run.

    Returns:
        How many messages were handled.

    Raises:
        BaseException: What a handler raised first. Its message is left to the queue's retries, and
            those behind it are not handled.
    """
    transport = worker._transport()
    worker._prepare(transport.url)
    processor = worker._processor()
    errors: list[BaseException] = []

    def listen(event: Event) -> None:
        if isinstance(event, MessageFailed | MessageRejected) and event.queue == transport.url:
            errors.append(event.error)

    stop = listen_to_all(listen)
    handled = 0
    try:
        while received := transport.receive(
            max_messages=1, wait_seconds=0, visibility_timeout=None
        ):
            handled += processor.process(transport, received[0], wait=_never)
            if errors:
                raise errors[0]
    finally:
        stop()
        worker._event_loop.stop()
    return handled


def _never(_hold: Hold) -> bool:
    """A message that cannot be opened now fails: the test would wait."""
    return False
