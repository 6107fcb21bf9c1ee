"""What an audit found: frozen, and a JSON document that other programs read.

`docs/how-to/size-audit.md` has the fields, `docs/size-audit.schema.json` the JSON Schema. `version`
changes when a reader of the old one would go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, ValidationError

from claimcheck.audit.cost import Units
from claimcheck.audit.settings import AuditSettings
from claimcheck.core.claim_check import Route
from claimcheck.errors import AuditInvalid

Version: TypeAlias = Literal[1]

VERSION: Version = 1


class SizeStats(BaseModel, frozen=True):
    """Sizes of many messages, in bytes.

    Attributes:
        smallest: The smallest.
        median: The median, to within 1 %.
        p95: What 95 % do not exceed, to within 1 %.
        largest: The largest.
        buckets: How many sizes are over `1.02 ** (n - 1)` bytes, up to `1.02 ** n`, by `n`.
    """

    smallest: int
    median: int
    p95: int
    largest: int
    buckets: Mapping[int, int]


class Point(BaseModel, frozen=True):
    """One message of a sample.

    Attributes:
        size: Bytes of body and attributes as given.
        sent_size: Bytes that went on the queue, body and attributes.
        route: Which way it went.
        draw: Random; of two samples the points with the lowest draws are that of both.
    """

    size: int
    sent_size: int
    route: Route
    draw: float


class TypeReport(BaseModel, frozen=True):
    """What the messages of one type weigh.

    Attributes:
        type: The message type.
        messages: How many were sent.
        not_sent: How many were refused, or failed to be sent.
        routes: How many went which way.
        size: Bytes of body and attributes as given, of all, also of those that were not sent.
        sent_size: Bytes that went on the queue; None where none was sent.
        sealed_bytes: Of those that did not go inline, bytes as given.
        sealed_to_bytes: Of the same, bytes that went into the store or else on the queue.
        ratio: The one over the other; None where all went inline.
        units: What AWS bills for those that were sent.
        units_with_s3: What it would bill, were those that did not go inline stored in S3.
        cost_per_million: US dollars for a million of those that were sent, on average; None where
            none was sent.
        s3_cost_per_million: The same with `units_with_s3`.
        largest_in: The test, or what else a label said, that sent the largest.
        points: A sample of those that were sent.
    """

    type: str
    messages: int
    not_sent: int
    routes: Mapping[Route, int]
    size: SizeStats
    sent_size: SizeStats | None
    sealed_bytes: int
    sealed_to_bytes: int
    ratio: float | None
    units: Units
    units_with_s3: Units
    cost_per_million: float | None
    s3_cost_per_million: float | None
    largest_in: str | None
    points: tuple[Point, ...]

    @property
    def is_summary(self) -> bool:
        """Whether its histograms were left out."""
        return not self.size.buckets


class AuditReport(BaseModel, frozen=True):
    """What an audit found.

    Attributes:
        version: Of this document.
        created_at: When it was made.
        sample: Share of messages that were weighed.
        settings: What it is held against.
        types: One report for each message type, by name.
    """

    version: Version = VERSION
    created_at: datetime
    sample: float = Field(default=1.0, gt=0, le=1)
    settings: AuditSettings
    types: tuple[TypeReport, ...]

    @classmethod
    def load(cls, path: Path) -> AuditReport:
        """Read a saved report.

        Raises:
            AuditInvalid: It cannot be read, or is no report of this version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise AuditInvalid(f"{path}: {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "the document"
            raise AuditInvalid(
                f"{path} is no audit report of version {VERSION} ({where}: {first['msg']}). Make "
                "one with `pytest --claimcheck-audit-json FILE`."
            ) from None

    def save(self, path: Path) -> None:
        """Write the report as JSON; folders are made.

        Raises:
            AuditInvalid: It cannot be written.
        """
        write_text(path, self.model_dump_json(indent=2) + "\n")

    def summary(self) -> AuditReport:
        """The report without histograms and samples: short enough to be kept in a repository."""
        return self.model_copy(update={"types": tuple(_summary(each) for each in self.types)})


def write_text(path: Path, text: str) -> None:
    """Write a file of the audit; folders are made.

    Raises:
        AuditInvalid: It cannot be written.
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
