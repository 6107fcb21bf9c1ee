"""The report of a service's tests, made by real messages and the same each time."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from claimcheck import BodyTooLarge, ClaimCheck, ClaimCheckMiddleware
from claimcheck.audit import AuditReport, AuditSettings, SizeAudit
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client
from letsgo_queue.transports.memory import MemoryTransport

Payload: TypeAlias = dict[str, Any]

SEED = 41
MADE_AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
LIMIT = 262_144

SETTINGS = """
[tool.claimcheck.audit]
limit = 262144

[tool.claimcheck.audit.budgets]
"order:*" = "250 KB"
"user:welcome" = "8 KB"
"letsgo:*" = "64 KB"
"""


def sample_report(folder: Path) -> AuditReport:
    """Some 1,300 messages of six types, from 200 bytes to 8 MB."""
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(SETTINGS, encoding="utf-8")
    at = ""
    audit = SizeAudit(
        AuditSettings.from_pyproject(pyproject), label=lambda: at, draw=Random(SEED).random
    )
    claim_check = ClaimCheck(MemoryClaimStore(), max_size=8_000_000)
    client = Client(
        MemoryTransport(max_message_bytes=LIMIT), middleware=[ClaimCheckMiddleware(claim_check)]
    )
    client.add_listener(audit)
    for message, test in _messages(Random(SEED)):
        at = test
        with suppress(BodyTooLarge):  # one export is over `max_size`
            client.enqueue(message)
    return audit.report().model_copy(update={"created_at": MADE_AT})


def _messages(seeded: Random) -> Iterator[tuple[Payload, str]]:
    kinds: list[tuple[str, str, int, Callable[[Random, int], Payload], float, float]] = [
        ("order:new", "orders/test_checkout.py::test_many_lines", 420, _order, 6_500, 1.25),
        ("user:welcome", "users/test_signup.py::test_long_bio", 480, _user, 620, 0.6),
        ("invoice:render", "billing/test_invoices.py::test_year", 240, _order, 38_000, 0.95),
        ("image:resize", "media/test_images.py::test_panorama", 90, _image, 130_000, 0.9),
        ("letsgo:tenant:new", "tenants/test_tenants.py::test_roles", 60, _user, 1_900, 0.7),
        ("report:export", "reports/test_export.py::test_all_rows", 44, _report, 700_000, 0.95),
    ]
    for message_type, test, count, payload, median, spread in kinds:
        for _ in range(count):
            size = min(int(seeded.lognormvariate(0, spread) * median), 6_000_000)
            yield {"type": message_type, "payload": payload(seeded, size)}, f"tests/{test}"
    for size in 7_600_000, 8_600_000:
        export = {"type": "report:export", "payload": _report(seeded, size)}
        yield export, "tests/reports/test_export.py::test_all_rows_of_the_largest_tenant"


def _user(seeded: Random, size: int) -> Payload:
    return {
        "user_id": f"{seeded.getrandbits(64):016x}",
        "plan": seeded.choice(("free", "team", "business")),
        "locale": seeded.choice(("en", "de", "pt-BR")),
        "bio": _words(seeded, max(size - 110, 10)),
    }


def _order(seeded: Random, size: int) -> Payload:
    line = 150
    return {
        "order_id": f"{seeded.getrandbits(48):012x}",
        "lines": [
            {
                "sku": f"{seeded.choice('ABCDEF')}-{seeded.randrange(10**6):06}",
                "quantity": seeded.randint(1, 9),
                "unit_price_cents": seeded.randrange(100, 90_000),
                "currency": "EUR",
                "title": _words(seeded, 40),
            }
            for _ in range(max(size // line, 1))
        ],
    }


def _image(seeded: Random, size: int) -> Payload:
    pixels = b64encode(seeded.randbytes(max(size * 3 // 4, 100))).decode()
    return {"image_id": f"{seeded.getrandbits(64):016x}", "widths": [160, 640], "webp": pixels}


def _report(seeded: Random, size: int) -> Payload:
    row: list[Payload] = [
        {
            "day": f"2026-{seeded.randint(1, 12):02}-{seeded.randint(1, 28):02}",
            "account": f"{seeded.getrandbits(40):010x}",
            "region": seeded.choice(("emea", "amer", "apac")),
            "sessions": seeded.randrange(5_000),
            "revenue_cents": seeded.randrange(10**7),
            "note": _words(seeded, 30),
        }
        for _ in range(max(size // 145, 1))
    ]
    return {"report": "usage", "rows": row}


_WORDS = ("the", "order", "was", "paid", "and", "sent", "to", "a", "depot", "near", "you", "today")


def _words(seeded: Random, characters: int) -> str:
    return " ".join(seeded.choices(_WORDS, k=characters // 5 + 1))
