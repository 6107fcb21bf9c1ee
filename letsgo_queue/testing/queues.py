"""A queue that stands for another one in a test: in memory, with its name and its rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from letsgo_queue.attributes import DUE_AT, spell_out
from letsgo_queue.settings import QueueSettings, is_local_http, is_sqs, split_url
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import check_queue
from letsgo_queue.transports.memory import MemoryOptions, MemoryTransport
from letsgo_queue.transports.sqlite_file import SqliteOptions
from letsgo_queue.transports.url_options import options_in

UNNAMED = "memory://"
"""The queue of code that names none, if the environment names none either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message on a queue that is not due yet: delayed, or to be tried again.

    Attributes:
        type: Its type.
        message_id: Its id.
        queue: URL of its queue.
        receive_count: How often it was received so far; 0 for one that no handler had.
        seconds: Until it is due, by the clock of the test; endless (`math.inf`) while a message of
            its FIFO group is before it.
    """

    type: str
    message_id: str
    queue: str
    receive_count: int
    seconds: float


class QueueInTest(MemoryTransport):
    """A queue in memory that goes by the name of another one.

    Attributes:
        most_receives: After how many receives a message is a dead letter; None for never.
    """

    def __init__(
        self,
        url: str,
        options: SqliteOptions,
        *,
        clock: Callable[[], float],
        max_receives: int | None,
    ) -> None:
        """Make an empty queue.

        Args:
            url: The URL that it goes by.
            options: Its rules.
            clock: Seconds since 1970.
            max_receives: After how many receives a message is a dead letter; None for never.
        """
        rules = {
            "fifo": options.fifo,
            "content_based_deduplication": options.content_based_deduplication,
        }
        super().__init__(
            f"memory://?{urlencode(rules)}",
            visibility_timeout=options.visibility_timeout,
            max_message_bytes=options.max_message_bytes,
            clock=clock,
        )
        self.url = url
        self.most_receives = max_receives

    def max_receives(self) -> int | None:
        """See `Transport`."""
        return self.most_receives

    def waiting(self) -> list[Waiting]:
        """Its messages that are not due yet, in the order in which they become due."""
        now = self._clock()
        found = []
        for stored in self._messages.values():
            due = stored.visible_at
            if (attribute := stored.message.attributes.get(DUE_AT)) is not None:
                due = max(due, float(str(spell_out({DUE_AT: attribute})[DUE_AT].value)))
            if due > now:
                found.append((due, stored))
        return [
            Waiting(
                type=stored.message.type,
                message_id=stored.id,
                queue=self.url,
                receive_count=stored.receive_count,
                seconds=due - now,
            )
            for due, stored in sorted(found, key=lambda each: (each[0], each[1].number))
        ]


def queue_like(url: str | None, *, clock: Callable[[], float]) -> QueueInTest:
    """A queue in memory with the name and the rules of another one.

    Of an SQS queue only the URL is known, which says whether it is FIFO. Its stand-in takes
    messages of up to 1 MiB, has a visibility timeout of 30 s, does not deduplicate by content, and
    makes no message a dead letter.

    Args:
        url: URL of the other queue; None for a queue without a name.
        clock: Seconds since 1970.

    Raises:
        SettingsInvalid: The URL names no queue.
    """
    check_queue(url)
    url = (url or "").strip() or UNNAMED
    scheme = split_url(url).scheme
    max_receives = None
    if scheme == "sqlite":
        options = options_in(url, SqliteOptions)
        max_receives = options.max_receive_count
    elif scheme == "memory":
        options = SqliteOptions(**options_in(url, MemoryOptions).model_dump())
    elif is_sqs(url) and "?" not in url:
        fifo = url.rstrip("/").endswith(".fifo")
        options = SqliteOptions(fifo=fifo, content_based_deduplication=False)
    elif is_local_http(url):
        options = SqliteOptions()
    else:
        open_transport(url, QueueSettings()).close()  # it says what is wrong
        options = SqliteOptions()
    return QueueInTest(url, options, clock=clock, max_receives=max_receives)
