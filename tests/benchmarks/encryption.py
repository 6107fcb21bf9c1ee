"""What encryption adds to sealing and opening a message.

A process of its own with claims in memory and no network. It does both with and without, in turn.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from dataclasses import asdict
from functools import partial
from pathlib import Path

from claimcheck import ClaimCheck, open_store
from tests.benchmarks.measuring import cost_of


def main() -> None:
    """Seal and open, and print the costs."""
    task = json.loads(sys.argv[1])
    body = Path(task["message"]).read_bytes()
    key = b64encode(os.urandom(32)).decode()
    encrypting = ClaimCheck(open_store("memory://"), encryption=f"aes256:{key}")
    plain = ClaimCheck(open_store("memory://"))

    def there_and_back(check: ClaimCheck) -> None:
        check.open(check.seal(body).body.decode()).complete()

    costs: dict[str, list[dict[str, float]]] = {"encrypted": [], "plain": []}
    for number in range(task["runs"] + 1):
        pair = [("encrypted", encrypting), ("plain", plain)]
        for name, check in pair if number % 2 else reversed(pair):
            cost = asdict(cost_of(partial(there_and_back, check)))
            if number:  # the first one loads modules
                costs[name].append(cost)
    print(json.dumps(costs), flush=True)


if __name__ == "__main__":
    main()
