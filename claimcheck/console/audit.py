"""The console's section with the size audit: the page of a report, read anew each time."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from claimcheck.audit import AuditReport
from claimcheck.audit.page import page, policy
from letsgo_queue.console.extension import Section


def audit_section(path: Path) -> Section:
    """The section of a report.

    Args:
        path: The report, as JSON.

    Raises:
        AuditInvalid: The file cannot be read, or is no report.
    """
    AuditReport.load(path)

    def show(_request: Request) -> Response:
        text = page(AuditReport.load(path), back=("/", "Console"))
        return HTMLResponse(text, headers={"content-security-policy": _POLICY})

    return Section("Audit", "/audit", [Route("/audit", show)])


_POLICY = f"{policy()}; img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
"""That of the page, and what only a header can say. A browser asks for an icon by itself."""
