"""Posts to a local worker, as many as wanted: `make soak` has it take 10,000."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.letsgo_queue.local_http.letsgo import posted_by_letsgo
from tests.letsgo_queue.local_http.support import collecting
from tests.letsgo_queue.support import DEADLINE_SECONDS, serving
from tests.support.waiting import wait_for

CONNECTIONS = 20


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of posts.

    Attributes:
        statuses: How many were answered with which status.
        numbers: The message of each handler that ran, by its number.
    """

    statuses: Counter[int]
    numbers: list[int]


def post(count: int) -> Posted:
    """Post so many messages over a few connections, and wait until the worker has handled them."""
    worker, handled = collecting()
    with serving(worker) as url, ThreadPoolExecutor(CONNECTIONS) as pool:
        shares = [range(first, count, CONNECTIONS) for first in range(CONNECTIONS)]
        statuses = Counter(
            status
            for answers in pool.map(lambda numbers: _post_over_one_connection(url, numbers), shares)
            for status in answers
        )
        wait_for(lambda: len(handled) >= count, f"all of {count:,} messages")
    return Posted(statuses, [message["payload"]["number"] for message in handled])


def _post_over_one_connection(url: str, numbers: range) -> list[int]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        str(parts.hostname), parts.port, timeout=DEADLINE_SECONDS
    )
    statuses = []
    try:
        for number in numbers:
            message = {"type": "order:new", "payload": {"number": number}}
            connection.request("POST", "/", posted_by_letsgo(message))
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    finally:
        connection.close()
    return statuses


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.posts")
    parser.add_argument("--posts", type=int, default=10_000)
    count = parser.parse_args().posts
    started = time.perf_counter()
    posted = post(count)
    seconds = time.perf_counter() - started
    all_held = posted.statuses == {201: count} and sorted(posted.numbers) == list(range(count))
    print(f"local worker\n  {count:,} posts in {seconds:.1f} s, {json.dumps(posted.statuses)}")
    print("  all held" if all_held else "  some were refused, lost or handled twice")
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
