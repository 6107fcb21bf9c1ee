"""What the audit advises, and that its dollars are those of the cost model."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest

from claimcheck import EnqueueResult
from claimcheck.audit import AuditReport, AuditSettings, Prices, SizeAudit, advise, units_of
from claimcheck.audit.text import advice_lines
from claimcheck.core.cost import Place
from claimcheck.core.life import Purge
from claimcheck.core.opened import Route
from letsgo_queue import MessageSent

MILLION = 1_000_000


def audited(
    messages: Mapping[str, tuple[int, int, int]], settings: AuditSettings | None = None
) -> AuditReport:
    """A report of one message of each type.

    Args:
        messages: By type: bytes as given, on the queue, and in the store.
        settings: What the report goes by.
    """
    audit = SizeAudit(settings or AuditSettings(), draw=Random(3).random)
    for message_type, (size, sent_size, stored_size) in messages.items():
        route: Route = "stored" if stored_size else "inline" if size == sent_size else "compressed"
        result = EnqueueResult(
            message_id="1",
            queue="memory://",
            route=route,
            size=size,
            sent_size=sent_size,
            stored_size=stored_size,
            claim_id=None,
        )
        audit(
            MessageSent(
                type=message_type,
                queue="memory://",
                message_id="1",
                size=size,
                attributes_size=0,
                sent_size=sent_size,
                duration=0.0,
                result=result,
            )
        )
    return audit.report()


def lines_of(report: AuditReport) -> list[str]:
    return [line.text for line in advice_lines(report)]


def dollars(sent: int, stored: int = 0, place: Place = "dynamodb", purge: Purge = "after") -> float:
    units = units_of(sent, stored_size=stored, place=place, purge=purge)
    return Prices().dollars(units) * MILLION


def test_what_is_stored_in_dynamodb_is_cheaper_in_a_bucket_and_half_if_it_expires() -> None:
    settings = AuditSettings(monthly={"report:*": 5_200_000})
    report = audited({"report:export": (5_000_000, 300, 600_000)}, settings)

    bucket, expiry = advise(report)

    assert (bucket.change, expiry.change) == ("bucket", "expiry")
    assert bucket.dollars == expiry.dollars == pytest.approx(5.2 * dollars(300, 600_000))
    assert bucket.dollars_then == pytest.approx(5.2 * dollars(300, 600_000, "bucket"))
    assert expiry.dollars_then == pytest.approx(5.2 * dollars(300, 600_000, purge="never"))
    assert lines_of(report) == [
        "cheaper: report:export: with `?bucket=` 5.2 million messages a month cost $41 instead of "
        "$3,876",
        'cheaper: report:export: with purge="never", which DynamoDB bills half, 5.2 million '
        "messages a month cost $2,359 instead of $3,876",
    ]


def test_what_does_not_compress_is_said_to() -> None:
    (first, *_) = lines_of(audited({"file:new": (1_500_000, 300, 1_490_000)}))

    assert first == (
        "cheaper: file:new: does not compress; stored in S3 with `?bucket=` 1 million messages "
        "cost $7.85 instead of $1,845"
    )


def test_what_is_in_s3_already_needs_no_other_place() -> None:
    for place in ("bucket", "s3"):
        settings = AuditSettings.model_validate({"place": place})
        assert lines_of(audited({"file:new": (1_500_000, 300, 1_490_000)}, settings)) == []


def test_an_inline_message_of_several_requests_is_cheaper_sealed() -> None:
    assert lines_of(audited({"order:new": (120_000, 120_000, 0)})) == [
        "cheaper: order:new: with CLAIMCHECK_THRESHOLD=auto, which seals from 64 KB on where that "
        "pays, 1 million messages cost $1.20 instead of $2.00 if they compress to a third"
    ]


def test_how_far_a_type_compresses_is_known_from_its_larger_messages() -> None:
    hard, easy = 400_000, 40_000
    small = AuditSettings(monthly={"*": 2 * MILLION})
    for sealed_to, found in ((hard, []), (easy, ["threshold"])):
        audit = SizeAudit(small)
        audit.merge(audited({"order:new": (420_000, sealed_to, 0)}, small))
        audit.merge(audited({"order:new": (120_000, 120_000, 0)}, small))
        assert [each.change for each in advise(audit.report())] == found


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (2_000, AuditSettings()),
        (120_000, AuditSettings(threshold=65_536)),
        (120_000, AuditSettings(monthly={"*": 10_000})),
    ],
)
def test_no_advice_where_nothing_is_saved_or_next_to_nothing(
    size: int, settings: AuditSettings
) -> None:
    assert lines_of(audited({"order:new": (size, size, 0)}, settings)) == []


def test_the_environment_says_where_claims_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for store in ("dynamodb://claims", "dynamodb://claims?bucket=b", "s3://b/claims"):
        monkeypatch.setenv("CLAIMCHECK_STORE", store)
        found.append(AuditSettings().with_environment().place)
    assert found == ["dynamodb", "bucket", "s3"]


def test_the_environment_says_in_which_region(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for region in ("eu-central-1", "mars-1"):
        monkeypatch.setenv("AWS_REGION", region)
        found.append(AuditSettings().with_environment().prices.dynamodb_write)
    given = AuditSettings(prices=Prices(dynamodb_write=1.0)).with_environment()
    assert [*found, given.prices.dynamodb_write] == [0.7625, 0.625, 1.0]


def test_keys_of_kms_are_on_the_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", "kms://alias/claims")
    settings = AuditSettings().with_environment()
    (report,) = audited({"order:new": (300_000, 30_000, 0)}, settings).types

    assert report.units.kms_requests == settings.kms_requests > 0
    a_key_of_the_bucket = AuditSettings(kms_requests=2)
    (dearer,) = audited({"order:new": (300_000, 30_000, 0)}, a_key_of_the_bucket).types
    assert dearer.cost_per_million == pytest.approx(1.20 + 2 * 3.00)


def test_the_threshold_of_auto_is_64_kb_in_the_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "auto")

    assert AuditSettings().with_environment().threshold == 65_536
