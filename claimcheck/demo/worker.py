"""The demo's worker, in a process of its own: `python -m claimcheck.demo.worker FOLDER TYPE ...`.

For each message it writes three files into the folder: the body on the queue, the body that the
handler gets, and last the time at which the handler got it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from claimcheck import unwrap_claim_check
from letsgo_queue import IncomingMessage, Middleware, Steps, Worker, use_middleware

READY = "ready"


class Witness(Middleware):
    """Writes down each message, just before its handler runs."""

    def __init__(self, folder: Path) -> None:
        """Name the folder to write to."""
        self._folder = folder

    def handle(self, message: IncomingMessage, /) -> Steps:
        """Write the message down, then go on to the handler."""
        handled_at = time.time()
        when = self._folder / f"{message.message_id}.when"
        when.with_suffix(".travelled").write_bytes(message.received.body.encode())
        when.with_suffix(".handled").write_bytes(message.body.encode())
        when.with_suffix(".tmp").write_text(repr(handled_at))
        when.with_suffix(".tmp").rename(when)  # so that the file is whole as soon as it exists
        yield


def main(arguments: Sequence[str]) -> None:
    """Handle the demo's message types until a signal comes."""
    folder, types = Path(arguments[0]), arguments[1:]
    worker = Worker()

    @unwrap_claim_check
    @use_middleware(Witness(folder))
    def handle(message: dict[str, object]) -> None:
        """Do nothing: `Witness` has written all down."""

    for message_type in set(types):
        worker.handler(message_type)(handle)
    (folder / READY).touch()
    worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
