"""What `claimcheck.enqueue` of a small message costs beyond `letsgo_queue.enqueue`.

A process of its own with a queue in memory and no network. It calls both in turn.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import claimcheck
import letsgo_queue
from tests.benchmarks.small_sends import SmallMessage, in_turn


def main() -> None:
    """Send, and print the costs."""
    os.environ["LETSGO_QUEUE_URL"] = "memory://"
    task = json.loads(sys.argv[1])
    model = SmallMessage.model_validate_json(Path(task["message"]).read_text())
    ours, theirs = in_turn(
        lambda: claimcheck.enqueue(model),
        lambda: letsgo_queue.enqueue(model),
        calls=task["calls"],
    )
    print(
        json.dumps({"ours": [*map(asdict, ours)], "theirs": [*map(asdict, theirs)]}),
        flush=True,
    )


if __name__ == "__main__":
    main()
