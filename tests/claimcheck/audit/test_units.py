"""The bill in code: what AWS bills for a message, and what it charges for that."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from claimcheck.audit import (
    Advice,
    AuditReport,
    Prices,
    SizeAudit,
    SizeStats,
    Units,
    advise,
    units_of,
    units_with_s3,
)
from claimcheck.core.life import Purge
from letsgo_queue import Client

MB = 1_000_000
PRICES = Prices(
    region="somewhere",
    sqs_request=1,
    sqs_fifo_request=2,
    dynamodb_write=4,
    dynamodb_read=8,
    dynamodb_gb_month=16,
    s3_put=32,
    s3_get=64,
    s3_gb_month=128,
    kms_request=256,
    transfer_gb=512,
)


@pytest.mark.parametrize(
    ("units", "dollars"),
    [
        (Units(sqs_requests=MB), 1),
        (Units(sqs_fifo_requests=MB), 2),
        (Units(write_units=MB), 4),
        (Units(read_units=MB), 8),
        (Units(dynamodb_expiring_bytes=1000 * MB), 16 / 2),  # 15 days
        (Units(s3_puts=MB), 32),
        (Units(s3_gets=MB), 64),
        (Units(s3_expiring_bytes=1000 * MB), 128 * 43 / 30),
        (Units(s3_bytes=1000 * MB), 128 / 43_200),  # a minute
        (Units(kms_requests=MB), 256),
        (Units(moved_bytes=1000 * MB), 512),
    ],
)
def test_each_unit_has_its_price(units: Units, dollars: float) -> None:
    assert PRICES.dollars(units) == pytest.approx(dollars)


def test_a_month_of_storage() -> None:
    month = PRICES.month_of_storage(dynamodb_bytes=2_000 * MB, s3_bytes=500 * MB)
    assert month == pytest.approx(2 * 16 + 128 / 2)


def test_what_a_message_in_a_bucket_is_billed_for() -> None:
    kept: dict[Purge, Units] = {
        purge: units_of(500, stored_size=MB, place="bucket", purge=purge, kms_requests=0.5)
        for purge in ("after", "never")
    }
    assert {purge: (units.s3_puts, units.s3_gets) for purge, units in kept.items()} == {
        "after": (1, 1),
        "never": (1, 1),
    }
    assert (kept["after"].s3_bytes, kept["after"].s3_expiring_bytes) == (MB, 0)
    assert (kept["never"].s3_bytes, kept["never"].s3_expiring_bytes) == (0, MB)
    assert kept["after"].kms_requests == 0.5


def test_fifo_queues_have_requests_of_their_own() -> None:
    standard, fifo = units_with_s3(MB), units_with_s3(MB, fifo=True)
    assert (fifo.sqs_requests, fifo.sqs_fifo_requests) == (0, standard.sqs_requests)
    assert (fifo.s3_puts, fifo.s3_gets, fifo.s3_bytes) == (1, 1, MB)


def test_a_report_says_what_each_type_weighs_and_what_would_cost_less() -> None:
    audit = SizeAudit()
    client = Client("memory://audited")
    client.add_listener(audit)
    client.enqueue({"type": "report", "payload": "x" * 100_000})

    report = audit.report()

    (of_type,) = report.types
    assert isinstance(of_type.size, SizeStats)
    assert of_type.size.smallest == of_type.size.largest
    assert of_type.size.median == pytest.approx(of_type.size.largest, rel=0.02)
    assert of_type.sealed_bytes == of_type.sealed_to_bytes == 0  # it went as it was
    assert of_type.units_with_bucket == of_type.units
    assert of_type.units_with_expiry == of_type.units
    assert not of_type.is_summary
    assert report.created_at <= datetime.now(UTC)
    assert AuditReport.model_validate_json(report.model_dump_json()) == report
    (advice,) = advise(report)
    assert (advice.type, advice.change) == ("report", "threshold")
    assert advice.saved == pytest.approx(0.8)
    assert advice.compresses  # as far as is known


def test_advice_says_what_it_saves() -> None:
    advice = Advice(
        type="report",
        change="bucket",
        messages=MB,
        is_monthly=False,
        dollars=1_239.0,
        dollars_then=7.9,
        ratio=1.01,
    )
    assert advice.saved == pytest.approx(1_231.1)
    assert not advice.compresses
