"""The memory that sealing and opening a large body need, beside the body and the result.

A fresh process. It first seals and opens a small claim, so that the modules of the store do not
count.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from claimcheck import ClaimCheck, open_store
from claimcheck.core.opened import Opened
from claimcheck.core.sealing import Sealed
from tests.benchmarks.measuring import extra_peak_bytes

_SMALL = json.dumps({"type": "bench:small", "payload": os.urandom(3_000).hex()}).encode()


def main() -> None:
    """Seal and open, and print the extra bytes of both and the size of the body."""
    task = json.loads(sys.argv[1])
    body = _body(task)
    store = open_store(task["store"], region=os.environ["AWS_REGION"])
    claim_check = ClaimCheck(store, threshold=1_000, inline_limit=1_500, max_size=2 * len(body))
    claim_check.open(claim_check.seal(_SMALL).body.decode()).complete()

    sealed: list[Sealed] = []
    opened: list[Opened] = []
    to_seal = extra_peak_bytes(lambda: sealed.append(claim_check.seal(body)))
    on_queue = sealed[0].body.decode()
    to_open = extra_peak_bytes(lambda: opened.append(claim_check.open(on_queue)))
    result = sys.getsizeof(opened[0].body)
    if opened[0].body.encode() != body:
        raise AssertionError("what was opened is not what was sealed")
    opened[0].complete()
    store.close()
    print(json.dumps({"seal": to_seal, "open": to_open - result, "body": len(body)}), flush=True)


def _body(task: dict[str, Any]) -> bytes:
    """A message that is in a file, or one of so many random bytes."""
    if "noise" in task:
        return b'{"type":"bench:noise","payload":"%s"}' % base64.b64encode(
            os.urandom(task["noise"])
        )
    # As it travels: compact, and with no escapes but those that JSON needs.
    message = json.loads(Path(task["message"]).read_text())
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


if __name__ == "__main__":
    main()
