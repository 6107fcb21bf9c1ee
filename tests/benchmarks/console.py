"""`make first-page`: how long the console's first pages take on 100,000 messages in a file."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from letsgo_queue import Client

MESSAGES = 100_000
BATCH = 1_000
MOST_SECONDS = 0.3
PAGES = ("/", "/queues/0/messages", "/queues/0/dead-letters", "/claims/0")


def main() -> int:
    """Measure, and print. The exit code is 1 if the first page took too long."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'work.db'}"
        with closing(Client(url)) as client:
            for _ in range(MESSAGES // BATCH):
                client.enqueue_many([{"type": "mail:send", "payload": {"to": "Ada"}}] * BATCH)
        command = [sys.executable, "-m", "letsgo_queue.cli.app", "console", "--queue", url]
        with subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            address = process.stdout.readline().strip()
            taken = _first_pages(address)
            process.terminate()
    for path, seconds in taken.items():
        print(f"{path:<24}{seconds * 1000:>8.0f} ms")
    return int(taken["/"] > MOST_SECONDS)


def _first_pages(address: str) -> dict[str, float]:
    host, _, token = address.removeprefix("http://").partition("/?token=")
    taken: dict[str, float] = {}
    with closing(HTTPConnection(host)) as connection:
        for path in PAGES:
            began = time.perf_counter()
            if not taken:  # the first page is the one after the sign-in
                connection.request("GET", f"/?token={token}")
                answer = connection.getresponse()
                answer.read()
                cookie = (answer.headers["set-cookie"] or "").partition(";")[0]
            connection.request("GET", path, headers={"cookie": cookie})
            answer = connection.getresponse()
            assert answer.status == 200, path
            answer.read()
            taken[path] = time.perf_counter() - began
    return taken


if __name__ == "__main__":
    sys.exit(main())
