"""Why a message is a dead letter, as the worker that moved it there knows.

The failure travels with the letter in one attribute, as JSON:

    {"v":1,"reason":"failed in delivery 5, max_receive_count=5: NoStock","error":"shop.NoStock",
     "place":{"file":"shop/orders.py","line":12,"function":"on_order"},"attempts":5,
     "first_received_at":"2026-11-26T22:40:00Z","failed_at":"2026-11-26T22:42:00Z",
     "message_id":"0f2c5b8e-...","worker":"host:4711"}

An error that the library raised before the handler ran has its text here (`text`). The text of any
other error may quote a payload, so it is here only if the worker is told so
(`dead_letter_errors="full"`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from letsgo_queue.attributes import without_refused_characters
from letsgo_queue.errors import LetsGoError, Reject, Retry
from letsgo_queue.place import Place

MAX_REASON_LENGTH = 1_000
MAX_SHORT_REASON_LENGTH = 100
"""Characters of the reason if the message leaves little room for it."""

_MODULES = {"letsgo_queue.errors", "claimcheck.errors"}


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such time in UTC") from None


_Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Failure(BaseModel):
    """Why a message is a dead letter.

    Attributes:
        v: The version of this format.
        reason: Why a worker gave it up: the text of `Reject`, or which attempt was the last.
        error: The class of the error, with its module: `shop.stock.NoStock`.
        place: The line of the user's code that raised it; None if no such code ran.
        attempts: How often the message was received.
        first_received_at: When it was received for the first time; None if the queue does not say.
        failed_at: When it failed for the last time.
        message_id: Its id before it was moved, by which logs name it. On SQS letters get new ones.
        worker: Which worker moved it: host and process id, or the name of the Lambda function.
        text: The text of an error that the library raised. With `dead_letter_errors="full"`, of any
            error, which may quote the payload.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    v: Literal[1] = 1
    reason: str
    error: str | None = None
    place: Place | None = None
    attempts: int | None = None
    first_received_at: _Moment | None = None
    failed_at: _Moment | None = None
    message_id: str | None = None
    worker: str | None = None
    text: str | None = Field(default=None, repr=False)

    @property
    def meaning(self) -> str | None:
        """The meaning of an error of these packages, in a sentence; None for any other error."""
        module, _, name = (self.error or "").rpartition(".")
        if module not in _MODULES:  # the name comes from a message: nothing else is loaded for it
            return None
        found = getattr(importlib.import_module(module), name, None)
        if not (isinstance(found, type) and issubclass(found, LetsGoError)):
            return None
        if issubclass(found, Reject | Retry):  # handlers raise these
            return None
        return " ".join((found.__doc__ or "").partition("\n\n")[0].split()) or None

    @classmethod
    def because(cls, reason: str) -> Self:
        """Make a failure of which only the reason is known."""
        return cls(reason=fit(reason) or "no reason given")

    @classmethod
    def read(cls, written: str) -> Self:
        """Read a text that `versions` wrote. Any other text counts as the reason."""
        try:
            return cls.model_validate_json(written)
        except ValidationError:
            return cls.because(written)

    def versions(self) -> Iterator[str]:
        """Yield the failure as text for the attribute, first whole, then ever shorter."""
        short = self.model_copy(update={"text": None})
        shortest = short.model_copy(update={"reason": self.reason[:MAX_SHORT_REASON_LENGTH]})
        for each in (self, short, shortest):
            yield each.model_dump_json(exclude_none=True)


def fit(text: str, most: int = MAX_REASON_LENGTH) -> str:
    """Cut a text, and remove characters, so that a message attribute can have it."""
    return without_refused_characters(text)[:most]
