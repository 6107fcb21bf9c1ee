"""Sending many messages, in batches filled by count and by bytes.

    messages ──> windows of ten: encoded, and large ones sealed, several at a time
             ──> batches: up to ten messages and as many bytes as the queue accepts
             ──> the queue

Only what is under way is in memory. A message that is refused for what it is does not keep the
others back; one that fails because the queue or a store cannot be reached ends the sending, since
those after it would fail as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from letsgo_queue.errors import (
    EnqueueManyError,
    LetsGoQueueError,
    MessageTooLarge,
    SendFailed,
)
from letsgo_queue.events import EnqueueResult
from letsgo_queue.message import MessageT
from letsgo_queue.sending.one import Sending
from letsgo_queue.transports.base import ANY_QUEUE_BYTES, MAX_BATCH, Sent, Transport

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with how many messages were sent, and how many failed, so far."""

LARGE_BYTES = 100_000
"""From this size on, what middleware does to a message is worth a thread."""

MAX_NAMED = 3
"""How many errors the text of `EnqueueManyError` quotes."""


@dataclass(frozen=True, slots=True)
class _Item:
    position: int
    sending: Sending


@dataclass(slots=True)
class _Outcome:
    """What became of the messages so far."""

    keep_results: bool
    results: list[EnqueueResult | None] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    attempted: int = 0
    sent: int = 0
    stopped: bool = False

    def add(self) -> int:
        """One more message; its position."""
        position = self.attempted
        self.attempted += 1
        if self.keep_results:
            self.results.append(None)
        return position

    def succeed(self, position: int, result: EnqueueResult) -> None:
        self.sent += 1
        if self.keep_results:
            self.results[position] = result

    def fail(self, position: int, error: Exception) -> None:
        self.errors[position] = _without_frames(error)
        self.stopped |= bool(getattr(error, "retryable", False))


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
    outcome = _Outcome(keep_results)
    remaining = iter(messages)
    ready: list[_Item] = []
    try:
        with ThreadPoolExecutor(MAX_BATCH, "letsgo-enqueue") as pool:
            while window := list(islice(remaining, MAX_BATCH)):
                _prepare(window, start, outcome, pool, ready)
                # What is left over may share a batch with the next window.
                _send_all(ready, transport, outcome, progress, only_full=True)
                if outcome.stopped:
                    break
        _send_all(ready, transport, outcome, progress, only_full=False)
    except BaseException as error:
        # What cannot be iterated over, or an interruption: nothing more is sent.
        _give_up(ready, outcome)
        error.add_note(f"{outcome.sent:,} messages to {transport.url} were sent before that.")
        raise
    _give_up(ready, outcome)
    if outcome.errors:
        raise _error(outcome, transport)
    return [result for result in outcome.results if result is not None]


def _prepare(
    window: Sequence[MessageT],
    start: Callable[[MessageT], Sending],
    outcome: _Outcome,
    pool: ThreadPoolExecutor,
    ready: list[_Item],
) -> None:
    """Add those of a window that can be sent to what is ready for it."""
    items = []
    for message in window:
        position = outcome.add()
        try:
            items.append(_Item(position, start(message)))
        except Exception as error:  # noqa: BLE001  ours, or of a function that gives ids
            outcome.fail(position, error)
    at_once = {
        item.position: pool.submit(copy_context().run, item.sending.prepare)
        for item in items
        if item.sending.size > LARGE_BYTES
    }
    for item in items:
        try:
            if preparing := at_once.get(item.position):
                preparing.result()
            else:
                item.sending.prepare()
        except Exception as error:  # noqa: BLE001  a middleware's refusal of this one message
            outcome.fail(item.position, error)
        else:
            ready.append(item)


def _send_all(
    ready: list[_Item],
    transport: Transport,
    outcome: _Outcome,
    progress: Progress | None,
    *,
    only_full: bool,
) -> None:
    """Send what is ready, unless the sending has ended.

    Args:
        ready: What is ready; emptied by what is sent.
        transport: The queue.
        outcome: What became of the messages so far.
        progress: Called after each batch.
        only_full: Keep a batch to which something may yet be added.
    """
    while ready and not outcome.stopped:
        count = _count(ready, transport)
        if only_full and count == len(ready) < MAX_BATCH:
            return
        batch = ready[:count]
        del ready[:count]
        _send(batch, transport, outcome, progress)


def _count(ready: Sequence[_Item], transport: Transport) -> int:
    """How many fit one batch; the queue is asked only where its answer matters."""
    size = 0
    for count, item in enumerate(ready[:MAX_BATCH]):
        size += item.sending.size
        limit = ANY_QUEUE_BYTES
        if size > limit:
            limit = _max_message_bytes(transport) or limit
        if size > limit and count:
            return count
    return min(len(ready), MAX_BATCH)


def _max_message_bytes(transport: Transport) -> int | None:
    try:
        return transport.max_message_bytes()
    except LetsGoQueueError:
        return None  # sending will say more


def _send(
    batch: Sequence[_Item], transport: Transport, outcome: _Outcome, progress: Progress | None
) -> None:
    sent_before = outcome.sent
    answers = transport.send_batch([item.sending.outgoing for item in batch])
    for item, answer in zip(batch, answers, strict=True):
        if isinstance(answer, str):
            outcome.succeed(item.position, item.sending.sent(answer))
        else:
            item.sending.failed(answer)
            outcome.fail(item.position, answer)
    if outcome.sent == sent_before and len(batch) > 1 and not _are_too_large(answers):
        outcome.stopped = True  # a queue that takes nothing, for whichever reason
    if progress is not None:
        progress(outcome.sent, len(outcome.errors))


def _are_too_large(answers: Sequence[Sent]) -> bool:
    return all(isinstance(answer, MessageTooLarge) for answer in answers)


def _give_up(ready: Sequence[_Item], outcome: _Outcome) -> None:
    """Undo what was prepared for messages that are not sent."""
    for item in ready:
        error = SendFailed(
            "it was not sent, because those before it could not be sent", retryable=True
        )
        item.sending.failed(error)
        outcome.fail(item.position, error)


def _without_frames(error: Exception) -> Exception:
    """The error without its tracebacks, which would keep the messages that were under way."""
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _text(error: Exception) -> str:
    """What is wrong; of somebody else's error only the name, as its text may quote a payload."""
    return str(error).rstrip(".") if hasattr(error, "retryable") else type(error).__name__


def _error(outcome: _Outcome, transport: Transport) -> EnqueueManyError:
    named = "; ".join(
        f"number {position}: {_text(error)}"
        for position, error in sorted(outcome.errors.items())[:MAX_NAMED]
    )
    more = len(outcome.errors) - MAX_NAMED
    rest = f"; and {more:,} more" if more > 0 else ""
    stopped = " What came after them was not attempted." if outcome.stopped else ""
    return EnqueueManyError(
        f"{len(outcome.errors):,} of {outcome.attempted:,} messages to {transport.url} were not "
        f"sent, {outcome.sent:,} were: {named}{rest}.{stopped} `errors` has each by its position.",
        results=outcome.results,
        errors=outcome.errors,
        sent=outcome.sent,
        attempted=outcome.attempted,
    )
