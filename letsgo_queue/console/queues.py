"""The queues of a console, and what was last seen of those that only show messages to receivers."""

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
"""How many messages a look at SQS receives at most."""

LOOK_LETTERS = 2_000
"""How many dead letters are listed at most."""

PAGE_MESSAGES = 50


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a queue at a moment.

    Attributes:
        at: When, in UTC.
        messages: Messages that wait, by id.
        letters: Dead letters, by id.
    """

    at: datetime
    messages: Mapping[str, PeekedMessage] = field(default_factory=dict)
    letters: Mapping[str, DeadLetter] = field(default_factory=dict)


class ConsoleQueue:
    """A queue that the console shows.

    Attributes:
        number: Where it is among the console's queues, from 0.
        name: What it is called.
        url: Its URL.
        sampler: Its numbers.
        admin: Redrives and deletes its dead letters.
        costs: What looking at its messages does to them; None where it does nothing.
    """

    def __init__(self, number: int, url: str | None, settings: QueueSettings) -> None:
        """Open a queue; no sample is taken yet.

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
        """Where its pages are."""
        return f"/queues/{self.number}"

    @property
    def looked_at_messages(self) -> Look | None:
        """What was last seen of messages that wait, where looking costs."""
        return self._messages

    def peek(self, *, after: int | None = None, state: MessageState | None = None) -> Peek:
        """A page of its messages, where looking costs nothing; else those that were last seen."""
        if self.costs is None:
            return self._watch.peek(limit=PAGE_MESSAGES, after=after, state=state)
        return Peek([*self._messages.messages.values()] if self._messages else [])

    def look_at_messages(self) -> None:
        """Receive messages, where nothing else shows them."""
        peek = self._watch.peek(limit=LOOK_MESSAGES)
        self._messages = Look(_now(), messages={each.message_id: each for each in peek.messages})

    def message(self, message_id: str) -> PeekedMessage | None:
        """One message that waits; None if it is not there any more."""
        if self.costs is None:
            return self._watch.message(message_id)
        return self._messages.messages.get(message_id) if self._messages else None

    def letters(self) -> Look | None:
        """Its dead letters, as they are now; where looking costs, those that were last seen."""
        if self.costs is None:
            self.look_at_letters()
        return self._letters

    def letter(self, message_id: str) -> DeadLetter | None:
        """One dead letter; None if it is none any more."""
        if self.costs is None:
            found = self.admin.dead_letters(only=DeadLetterFilter(ids=[message_id]))
            return found[0] if found else None
        return self._letters.letters.get(message_id) if self._letters else None

    def look_at_letters(self) -> None:
        """List the dead letters."""
        with self._lock:  # each look hides them from the others
            letters = self.admin.dead_letters(limit=LOOK_LETTERS)
            self._letters = Look(_now(), letters={each.message_id: each for each in letters})

    def forget(self, message_id: str) -> None:
        """Show a dead letter no more: it is none."""
        if self._letters is not None:
            left = {
                name: each for name, each in self._letters.letters.items() if name != message_id
            }
            self._letters = replace(self._letters, letters=left)

    def start(self) -> None:
        """Take samples from now on."""
        self.sampler.start()

    def close(self) -> None:
        """Release connections."""
        self.sampler.stop()
        self.admin.close()
        self._watch.close()


def queue_of(request: Request, queues: Sequence[ConsoleQueue]) -> ConsoleQueue:
    """The queue that a request's path names.

    Raises:
        HTTPException: There is none.
    """
    number = int(request.path_params["queue"])
    if number >= len(queues):
        raise HTTPException(404, "This console has no such queue.")
    return queues[number]


def _now() -> datetime:
    return datetime.now(UTC)
