"""The code of a small shop: it puts work on a queue."""

from __future__ import annotations

import random

import claimcheck
import letsgo_queue
from letsgo_queue import Client

# Made at import, before any test.
metrics = Client("memory://")


def place_order(order_id: str, lines: int) -> None:
    payload = {"order_id": order_id, "lines": [{"sku": "A-7", "quantity": 1}] * lines}
    claimcheck.enqueue({"type": "order:new", "payload": payload})


def export_report(size: int) -> None:
    """Digits that do not compress to less than a third."""
    digits = random.Random(size).randbytes(size // 2).hex()
    claimcheck.enqueue({"type": "report:export", "payload": digits})


def count(name: str) -> None:
    metrics.enqueue({"type": "metric", "payload": name})


async def welcome(user: str) -> None:
    await letsgo_queue.aenqueue(
        {"type": "user:welcome", "payload": user}, attributes={"lang": "de"}
    )


def import_catalog(size: int) -> None:
    """Forgets the claim check."""
    letsgo_queue.enqueue({"type": "catalog:import", "payload": "x" * size})
