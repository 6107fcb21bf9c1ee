"""The demo's worker, in a process of its own: `python -m claimcheck.demo.worker FOLDER TYPE ...`.

For each message it leaves in the folder what travelled on the queue, what the handler got, and,
once both are there, when that was.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from claimcheck import unwrap_claim_check
from letsgo_queue import Delivery, Worker

READY = "ready"


def main(arguments: Sequence[str]) -> None:
    """Handle the demo's message types until a signal comes."""
    folder, types = Path(arguments[0]), arguments[1:]
    worker = Worker(wait_seconds=1)  # a long poll would keep the demo from ending

    @unwrap_claim_check
    def keep(message: dict[str, object], delivery: Delivery) -> None:
        del message
        handled_at = time.time()
        (folder / f"{delivery.message_id}.travelled").write_bytes(delivery.received.body.encode())
        (folder / f"{delivery.message_id}.handled").write_bytes(delivery.body.encode())
        when = folder / f"{delivery.message_id}.when"
        when.with_suffix(".tmp").write_text(repr(handled_at))
        when.with_suffix(".tmp").rename(when)

    for message_type in types:
        worker.handler(message_type)(keep)
    (folder / READY).touch()
    worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
