"""Bodies as pages show them: a sealed one is opened, and its claim stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.responses import Response

from letsgo_queue.console.extension import Extension, OpenedBody
from letsgo_queue.envelope import read_json
from letsgo_queue.errors import MessageInvalid

MAX_SHOWN_BYTES = 100_000
"""The most bytes of a payload that a page shows."""

MAX_PRETTY_BYTES = 5_000_000
"""A larger payload is not pretty-printed: parsing it would take seconds."""


@dataclass(frozen=True, slots=True)
class ShownBody:
    """The part of a body that a page shows.

    Attributes:
        text: The text, pretty-printed if it is JSON; None if it could not be opened.
        size: Bytes of the whole message.
        cut: Whether there is more.
        problem: Why it could not be opened.
    """

    text: str | None = field(repr=False)
    size: int | None
    cut: bool = False
    problem: str | None = None


class Bodies:
    """Shows bodies."""

    def __init__(self, extensions: Sequence[Extension]) -> None:
        """Take the extensions that open sealed bodies."""
        self._extensions = extensions

    def shown(self, body: str, *, queue: str) -> ShownBody:
        """Open a body, and return the part that a page shows."""
        opened = self._open(body, queue)
        if opened is None:
            return _shown(body)
        if opened.text is None:
            return ShownBody(None, opened.size, problem=opened.problem)
        return _shown(opened.text)

    def download(self, body: str, *, queue: str, message_id: str) -> Response:
        """Open a body, and return it as a file to download."""
        opened = self._open(body, queue)
        if opened is not None and opened.text is None:
            raise HTTPException(502, opened.problem or "The body could not be opened.")
        text = body if opened is None or opened.text is None else opened.text
        name = "".join(each for each in message_id if each.isascii() and each.isalnum())[:60]
        return Response(
            text.encode(errors="replace"),
            media_type="application/octet-stream",
            headers={"content-disposition": f'attachment; filename="{name or "message"}.json"'},
        )

    def _open(self, body: str, queue: str) -> OpenedBody | None:
        opened = (each.open(body, queue=queue) for each in self._extensions)
        return next((each for each in opened if each is not None), None)


def _shown(body: str) -> ShownBody:
    size = len(body.encode(errors="replace"))
    text = body
    if size <= MAX_PRETTY_BYTES:
        try:
            text = _pretty(body)
        except (MessageInvalid, ValueError, RecursionError):  # not JSON: shown as it is
            text = body
    encoded = text.encode(errors="backslashreplace")
    cut = len(encoded) > MAX_SHOWN_BYTES
    return ShownBody(encoded[:MAX_SHOWN_BYTES].decode(errors="ignore"), size, cut=cut)


def _pretty(body: str) -> str:
    """Write JSON with an item on each line, up to the size that a page shows.

    It stops there, since the indents of deeply nested JSON may take gigabytes.
    """
    written: list[str] = []
    length = 0
    for each in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(read_json(body)):
        written.append(each)
        length += len(each)
        if length > MAX_SHOWN_BYTES:
            break
    return "".join(written)
