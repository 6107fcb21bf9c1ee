from __future__ import annotations

from pathlib import Path

import pytest

import letsgo_queue


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/queue.db")
    # A ticket names its store, and with a path it has another size in each run.
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")
    letsgo_queue.set_default_client(None)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
