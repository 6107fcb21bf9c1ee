"""The report of an audit: frozen values, and a JSON document that other programs read.

`docs/how-to/size-audit.md` explains the fields, `docs/size-audit.schema.json` is the JSON Schema.
`version` changes when a reader of the old version would go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from claimcheck.audit.settings import MAX_SIZE, AuditSettings
from claimcheck.audit.sketch import bucket_of
from claimcheck.core.cost import Units
from claimcheck.core.opened import Route
from claimcheck.errors import AuditInvalid
from letsgo_queue.files import read_file

Version: TypeAlias = Literal[1]

VERSION: Version = 1

ROUTES: Final[tuple[Route, ...]] = get_args(Route)


def _in_utc(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("there is no such time in UTC") from None
    return moment


# A report may come from anywhere, so its values are limited to those that we can compute and show.
Amount = Annotated[int, Field(ge=0, le=MAX_SIZE)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bucket = Annotated[int, Field(ge=0, le=bucket_of(MAX_SIZE))]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class SizeStats(BaseModel, frozen=True):
    """Sizes of many messages, in bytes.

    Attributes:
        smallest: The smallest.
        median: The median, to within 1 %.
        p95: The size that 95 % do not exceed, to within 1 %.
        largest: The largest.
        buckets: How many sizes are over `1.02 ** (n - 1)` bytes, up to `1.02 ** n`, by `n`.
    """

    smallest: Amount
    median: Amount
    p95: Amount
    largest: Amount
    buckets: Mapping[Bucket, Amount]


class Point(BaseModel, frozen=True):
    """One message of a sample.

    Attributes:
        size: Bytes of body and attributes as given.
        sent_size: Bytes that went on the queue, body and attributes.
        route: Which way it went.
        draw: A random number. The points of two samples with the lowest draws are a sample of both.
    """

    size: Amount
    sent_size: Amount
    route: Route
    draw: Positive


class TypeReport(BaseModel, frozen=True):
    """The messages of one type.

    Attributes:
        type: The message type.
        messages: How many were sent.
        not_sent: How many were refused, or failed to be sent.
        routes: How many went which way.
        size: Bytes of body and attributes as given, also of messages that were not sent.
        sent_size: Bytes that went on the queue; None if no message was sent.
        sealed_bytes: Bytes as given of the messages that were compressed or stored.
        sealed_to_bytes: Bytes that the same messages carried, or had stored.
        ratio: `sealed_bytes` over `sealed_to_bytes`; None if every message went inline.
        units: What AWS bills for the messages that were sent.
        units_with_s3: What it would bill if compressed and stored messages were in S3 instead.
        units_with_bucket: What it would bill if contents were in S3 and records in DynamoDB.
        units_with_expiry: What it would bill if contents were left to expire (`purge="never"`).
        cost_per_million: US dollars for a million messages like these; None if none was sent.
        s3_cost_per_million: The same with `units_with_s3`.
        largest_in: Where the largest message came from: a test, or the name that `label` returned.
        points: A sample of the messages that were sent.
    """

    type: str
    messages: Amount
    not_sent: Amount
    routes: Mapping[Route, Amount]
    size: SizeStats
    sent_size: SizeStats | None
    sealed_bytes: Amount
    sealed_to_bytes: Amount
    ratio: Positive | None
    units: Units
    units_with_s3: Units
    units_with_bucket: Units
    units_with_expiry: Units
    cost_per_million: Positive | None
    s3_cost_per_million: Positive | None
    largest_in: str | None
    points: tuple[Point, ...]

    @property
    def is_summary(self) -> bool:
        """Whether its histograms were left out."""
        return not self.size.buckets


class AuditReport(BaseModel, frozen=True):
    """The report of an audit.

    Attributes:
        version: Version of this document's format.
        created_at: When the report was made.
        sample: Share of messages that were weighed.
        settings: The settings that messages are compared with.
        types: A report for each message type, by name.
    """

    version: Version = VERSION
    created_at: Moment
    sample: float = Field(default=1.0, gt=0, le=1)
    settings: AuditSettings
    types: tuple[TypeReport, ...]

    @classmethod
    def load(cls, path: Path) -> AuditReport:
        """Read a saved report.

        Raises:
            AuditInvalid: The file cannot be read, or is no report of this version.
        """
        try:
            return cls.model_validate_json(read_file(path))
        except OSError as error:
            raise AuditInvalid(f"{path}: {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "the document"
            raise AuditInvalid(
                f"{path} is no audit report of version {VERSION} ({where}: {first['msg']}). "
                "`pytest --claimcheck-audit-json FILE` makes one."
            ) from None

    def save(self, path: Path) -> None:
        """Write the report as JSON. Folders that are missing are made.

        Raises:
            AuditInvalid: The file cannot be written.
        """
        write_text(path, self.model_dump_json(indent=2) + "\n")

    def summary(self) -> AuditReport:
        """The report without histograms and samples, short enough for a repository."""
        return self.model_copy(update={"types": tuple(_summary(each) for each in self.types)})


def write_text(path: Path, text: str) -> None:
    """Write a file of the audit. Folders that are missing are made.

    Raises:
        AuditInvalid: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AuditInvalid(f"{path} cannot be written: {error.strerror}.") from error


def _summary(report: TypeReport) -> TypeReport:
    return report.model_copy(
        update={
            "size": _without_buckets(report.size),
            "sent_size": report.sent_size and _without_buckets(report.sent_size),
            "points": (),
        }
    )


def _without_buckets(stats: SizeStats) -> SizeStats:
    return stats.model_copy(update={"buckets": {}})
