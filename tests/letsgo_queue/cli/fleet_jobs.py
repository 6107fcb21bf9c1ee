"""The application of `test_processes.py`: it says in a file what each process handled.

note    nothing more
wait    until there is a file `go`
grow    by 300 MB, for good
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from letsgo_queue import Worker

HERE = Path.cwd()

orders = Worker(f"sqlite:///{HERE}/orders.db", weight=3)
mail = Worker(f"sqlite:///{HERE}/mail.db")
kept: list[bytearray] = []


def say(what: str) -> None:
    with Path("said").open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


@mail.handler("note")
@orders.handler("note")
def note(message: dict[str, Any]) -> None:
    say(f"note:{message['payload']}")


@orders.handler("wait")
def wait(message: dict[str, Any]) -> None:
    say("begun")
    while not Path("go").exists():
        time.sleep(0.01)
    say("ended")


@orders.handler("grow")
def grow(message: dict[str, Any]) -> None:
    kept.append(bytearray(os.urandom(1024) * 300 * 1024))
    say("grown")
