"""`claimcheck show`: a report on a message body, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import typer

from claimcheck.cli.show import BodyReport, ClaimReport, explain
from claimcheck.core.signing import Signer
from claimcheck.default import claim_check_for
from claimcheck.settings import ClaimCheckSettings
from letsgo_queue.cli.terminal import print_json
from letsgo_queue.settings import QueueSettings
from letsgo_queue.text import counted, printable


def report_on(body: str, queue: str | None) -> BodyReport:
    """Explain a body, with the store that a worker on the queue would use.

    Args:
        body: What came from the queue.
        queue: URL of the queue; by default that of the environment.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    settings = ClaimCheckSettings.from_environment()
    named = QueueSettings.from_environment()
    url = queue or named.local_queue_url or named.queue_url or ""
    return explain(
        body,
        store=lambda: claim_check_for(url, settings).store,
        max_size=settings.max_size,
        signer=Signer(settings.signing_key) if settings.signing_key else None,
        now=time.time(),
    )


def print_report(report: BodyReport, *, as_json: bool) -> None:
    """Print a report: lines of name and value, or one JSON document."""
    if as_json:
        print_json(asdict(report))
        return
    for name, value in _lines(report):
        typer.echo(f"{name:<14}{printable(value)}")


def _lines(report: BodyReport) -> Iterator[tuple[str, str]]:
    yield "sealed", "yes" if report.sealed else "no"
    if report.route is not None:
        yield "type", "none" if report.type is None else report.type
        yield "route", report.route
        yield "size", f"{report.size:,} bytes"
    yield "on the queue", f"{report.sent_size:,} bytes, without attributes"
    if report.stored_size:
        yield "stored", f"{report.stored_size:,} bytes in {counted(report.parts, 'part')}"
    if report.ratio is not None:
        yield "ratio", f"{report.ratio:.1f} to 1 ({report.encoding})"
        yield "signed", "yes" if report.signed else "no"
    if report.claim is not None:
        yield from _claim_lines(report.claim)
    if report.problem is not None:
        yield "problem", report.problem


def _claim_lines(claim: ClaimReport) -> Iterator[tuple[str, str]]:
    yield "claim", claim.id
    yield "store", claim.store
    until = "" if claim.lease_until is None else f", lease until {_utc(claim.lease_until)}"
    detail = "" if claim.detail is None else f": {claim.detail}"
    yield "state", f"{claim.state}{until}{detail}"
    yield "expires", _utc(claim.expires_at)


def _utc(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
