"""The queues of a console. For a queue on SQS it keeps the last look at the messages."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request

from letsgo_queue.admin import DeadLetter, DeadLetterFilter, open_admin
from letsgo_queue.admin.watch import MessageState, Peek, PeekedMessage, open_watch
from letsgo_queue.console.sampling import Sampler
from letsgo_queue.settings import QueueSettings

LOOK_MESSAGES = 100
"""The most messages that a look at SQS receives."""

LOOK_LETTERS = 2_000
"""The most dead letters that a list has."""

PAGE_MESSAGES = 50


@dataclass(frozen=True, slots=True)
class Look:
    """The messages or the dead letters of a queue at one moment.

    Attributes:
        at: The moment, in UTC.
        messages: Messages that wait, by id.
        letters: Dead letters, by id.
    """

    at: datetime
    messages: Mapping[str, PeekedMessage] = field(default_factory=dict)
    letters: Mapping[str, DeadLetter] = field(default_factory=dict)


class ConsoleQueue:
    """A queue that the console shows.

    Attributes:
        number: Its place among the console's queues, from 0.
        name: Its name.
        url: Its URL.
        sampler: Samples its numbers.
        admin: Redrives and deletes its dead letters.
        costs: A text that says what looking does to its messages; None if it does nothing.
    """

    def __init__(self, number: int, url: str | None, settings: QueueSettings) -> None:
        """Open a queue, without taking a sample yet.

        Raises:
            SettingsInvalid: The URL names no queue, or a queue of one process only.
            QueueNotFound: The LetsGo deployment has no queue, or several.
        """
        self.number = number
        self.admin = open_admin(url, settings)
        self._watch = open_watch(url, settings)
        self.url = self.admin.url
        self.name = self.url.partition("?")[0].rpartition("/")[2]
        self.costs = self._watch.peek_costs
        self.sampler = Sampler(open_admin(url, settings), open_watch(url, settings))
        self._lock = threading.Lock()
        self._messages: Look | None = None
        self._letters: Look | None = None

    @property
    def path(self) -> str:
        """The path of its pages."""
        return f"/queues/{self.number}"

    @property
    def looked_at_messages(self) -> Look | None:
        """The last look at the waiting messages of a queue where looking costs; None before it."""
        return self._messages

    def peek(self, *, after: int | None = None, state: MessageState | None = None) -> Peek:
        """Return a page of its messages; if looking costs, the messages of the last look."""
        if self.costs is None:
            return self._watch.peek(limit=PAGE_MESSAGES, after=after, state=state)
        return Peek([*self._messages.messages.values()] if self._messages else [])

    def look_at_messages(self) -> None:
        """Receive messages, for a queue that shows them in no other way."""
        peek = self._watch.peek(limit=LOOK_MESSAGES)
        self._messages = Look(_now(), messages={each.message_id: each for each in peek.messages})

    def message(self, message_id: str) -> PeekedMessage | None:
        """Return one message that waits; None if it is gone."""
        if self.costs is None:
            return self._watch.message(message_id)
        return self._messages.messages.get(message_id) if self._messages else None

    def letters(self) -> Look | None:
        """Return its dead letters as they are now; if looking costs, those of the last look."""
        if self.costs is None:
            self.look_at_letters()
        return self._letters

    def letter(self, message_id: str) -> DeadLetter | None:
        """Return one dead letter; None if it is gone."""
        if self.costs is None:
            found = self.admin.dead_letters(only=DeadLetterFilter(ids=[message_id]))
            return found[0] if found else None
        return self._letters.letters.get(message_id) if self._letters else None

    def look_at_letters(self) -> None:
        """List the dead letters."""
        with self._lock:  # a look hides the letters from other looks
            letters = self.admin.dead_letters(limit=LOOK_LETTERS)
            self._letters = Look(_now(), letters={each.message_id: each for each in letters})

    def forget(self, message_id: str) -> None:
        """Stop showing a letter that no longer is a dead letter."""
        if self._letters is not None:
            left = {
                name: each for name, each in self._letters.letters.items() if name != message_id
            }
            self._letters = replace(self._letters, letters=left)

    def start(self) -> None:
        """Start taking samples."""
        self.sampler.start()

    def close(self) -> None:
        """Release connections."""
        self.sampler.stop()
        self.admin.close()
        self._watch.close()


def queue_of(request: Request, queues: Sequence[ConsoleQueue]) -> ConsoleQueue:
    """Return the queue that a request's path names.

    Raises:
        HTTPException: There is no such queue.
    """
    number = int(request.path_params["queue"])
    if number >= len(queues):
        raise HTTPException(404, "This console has no such queue.")
    return queues[number]


def _now() -> datetime:
    return datetime.now(UTC)
