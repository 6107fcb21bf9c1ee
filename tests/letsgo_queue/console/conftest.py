"""A console on a queue in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from letsgo_queue.console.extension import ConsoleOptions
from tests.letsgo_queue.console.support import signed_in

OpenConsole = Callable[..., TestClient]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/work.db"


@pytest.fixture
def open_console(url: str) -> Iterator[OpenConsole]:
    """Opens a console and signs in."""
    with ExitStack() as consoles:
        yield lambda *queues, read_only=False: consoles.enter_context(
            signed_in(ConsoleOptions(queues=queues or [url], read_only=read_only), extensions=[])
        )
