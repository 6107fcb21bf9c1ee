"""Sending many messages, in batches filled by count and by bytes.

    messages ──> windows of ten: encoded, and large ones sealed, several at a time
             ──> batches: up to ten messages, and as many bytes as one call may have
             ──> the queue

Only the messages under way are in memory. A message that is refused does not keep the others back.
If the queue or a store cannot be reached, the sending ends: the messages after that would fail as
well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias

from letsgo_queue.calls import Call
from letsgo_queue.errors import (
    EnqueueManyError,
    MessageTooLarge,
    QueueNotFound,
    SendFailed,
)
from letsgo_queue.events import EnqueueResult
from letsgo_queue.limits import MAX_BATCH, MAX_BATCH_BYTES
from letsgo_queue.message import MessageT
from letsgo_queue.sending.one import Sending
from letsgo_queue.tracing import tracer
from letsgo_queue.transports.base import Sent, Transport

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with how many messages were sent, and how many failed, so far."""

LARGE_BYTES = 100_000
"""From this size on it pays to run a message's middleware on a thread."""

MAX_NAMED = 3
"""How many errors the text of `EnqueueManyError` quotes."""


def send_many(
    messages: Iterable[MessageT],
    start: Callable[[MessageT], Sending],
    transport: Transport,
    *,
    progress: Progress | None,
    keep_results: bool,
) -> list[EnqueueResult]:
    """Send messages; see `Client.enqueue_many`.

    Args:
        messages: The messages; read as they are needed.
        start: Checks a message, and makes it ready for its middleware.
        transport: The queue.
        progress: Called after each batch.
        keep_results: Whether to return the results.
    """
    many = _Many(transport, progress, keep_results=keep_results)
    remaining = iter(messages)
    try:
        with ThreadPoolExecutor(MAX_BATCH, "letsgo-enqueue") as pool:
            while not many.stopped and (window := list(islice(remaining, MAX_BATCH))):
                many.prepare(window, start, pool)
                many.send_full_batches()
        many.send_the_rest()
    except BaseException as error:
        # The iterable raised, or an interruption came: nothing more is sent.
        many.give_up()
        error.add_note(f"{many.sent:,} messages to {transport.url} were sent before that.")
        raise
    many.give_up()
    if many.errors:
        raise many.error()
    return [result for result in many.results if result is not None]


@dataclass(frozen=True, slots=True)
class _Item:
    position: int
    sending: Sending


class _Many:
    """The messages under way, and the results and errors of the messages before them."""

    def __init__(
        self, transport: Transport, progress: Progress | None, *, keep_results: bool
    ) -> None:
        self._transport = transport
        self._progress = progress
        self._keep_results = keep_results
        self._ready: list[_Item] = []
        self.results: list[EnqueueResult | None] = []
        self.errors: dict[int, Exception] = {}
        self.attempted = 0
        self.sent = 0
        self.stopped = False

    def prepare(
        self,
        window: Sequence[MessageT],
        start: Callable[[MessageT], Sending],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Run the middleware of some messages. Those that it does not refuse are ready."""
        items = []
        for message in window:
            position = self._next_position()
            try:
                items.append(_Item(position, start(message)))
            except Exception as error:  # noqa: BLE001  ours, or of a function that gives ids
                self._fail(position, error)
        on_threads = {
            item.position: Call(partial(item.sending.prepare, self._transport), pool)
            for item in items
            if item.sending.outgoing.size > LARGE_BYTES
        }
        for item in items:
            try:
                if preparing := on_threads.get(item.position):
                    preparing.result()
                else:
                    item.sending.prepare(self._transport)
            except Exception as error:  # noqa: BLE001  a middleware's refusal of this one message
                self._fail(item.position, error)
            else:
                self._ready.append(item)

    def send_full_batches(self) -> None:
        """Send what is ready, but for a last batch that the next window may fill."""
        while not self.stopped and self._ready:
            count = self._count()
            if count == len(self._ready) < MAX_BATCH:
                return
            self._send(count)

    def send_the_rest(self) -> None:
        """Send all that is ready."""
        while not self.stopped and self._ready:
            self._send(self._count())

    def give_up(self) -> None:
        """Undo what was prepared for messages that are not sent."""
        for item in self._ready:
            error = SendFailed(
                "it was not sent, because those before it could not be sent", retryable=True
            )
            item.sending.failed(error)
            self._fail(item.position, error)

    def error(self) -> EnqueueManyError:
        """The error that says which messages were not sent, and why."""
        named = "; ".join(
            f"number {position}: {_text(error)}"
            for position, error in sorted(self.errors.items())[:MAX_NAMED]
        )
        more = len(self.errors) - MAX_NAMED
        rest = f"; and {more:,} more" if more > 0 else ""
        stopped = " What came after them was not attempted." if self.stopped else ""
        return EnqueueManyError(
            f"{len(self.errors):,} of {self.attempted:,} messages to {self._transport.url} were "
            f"not sent, {self.sent:,} were: {named}{rest}.{stopped} `errors` has each by its "
            "position.",
            results=self.results,
            errors=self.errors,
            sent=self.sent,
            attempted=self.attempted,
        )

    def _next_position(self) -> int:
        position = self.attempted
        self.attempted += 1
        if self._keep_results:
            self.results.append(None)
        return position

    def _fail(self, position: int, error: Exception) -> None:
        self.errors[position] = _without_frames(error)
        # An error of the queue or of a store: the other messages would fail as well.
        self.stopped |= isinstance(error, QueueNotFound) or bool(getattr(error, "retryable", False))

    def _count(self) -> int:
        """How many ready messages fit one batch."""
        size = 0
        for count, item in enumerate(self._ready[:MAX_BATCH]):
            size += item.sending.outgoing.size
            if size > MAX_BATCH_BYTES and count:
                return count
        return min(len(self._ready), MAX_BATCH)

    def _send(self, count: int) -> None:
        batch, self._ready = self._ready[:count], self._ready[count:]
        sent_before = self.sent
        answers = self._answers([item.sending for item in batch])
        for item, answer in zip(batch, answers, strict=True):
            if isinstance(answer, str):
                self.sent += 1
                result = item.sending.sent(answer)
                if self._keep_results:
                    self.results[item.position] = result
            else:
                item.sending.failed(answer)
                self._fail(item.position, answer)
        too_large = all(isinstance(answer, MessageTooLarge) for answer in answers)
        if self.sent == sent_before and len(batch) > 1 and not too_large:
            self.stopped = True  # a queue that takes nothing, for whichever reason
        if self._progress is not None:
            self._progress(self.sent, len(self.errors))

    def _answers(self, batch: Sequence[Sending]) -> Sequence[Sent | Exception]:
        """For each message of a batch its id, or why it was not sent."""
        try:
            with tracer().send([each.span for each in batch], self._transport.url):
                return self._transport.send_batch([each.outgoing for each in batch])
        except Exception as error:  # noqa: BLE001  settings that changed, or a transport's defect
            return [error] * len(batch)


def _without_frames(error: Exception) -> Exception:
    """The error without its tracebacks, which would keep the messages that were under way."""
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _text(error: Exception) -> str:
    """The text of an error of ours; of any other only its class: a text may quote a payload."""
    return str(error).rstrip(".") if hasattr(error, "retryable") else type(error).__name__
