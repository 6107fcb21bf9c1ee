"""The console's section with the size audit: the page of a report, or of messages that wait.

With a report it shows the report's page, and reads the file anew each time. Without a report it
weighs the messages that wait on a queue: the body on the queue tells a message's type, its route,
and its sizes before and after sealing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from claimcheck.audit import AuditReport, SizeAudit
from claimcheck.audit.page import page, policy
from claimcheck.middleware import EnqueueResult
from letsgo_queue.admin.watch import PeekedMessage, QueueWatch, open_watch
from letsgo_queue.attributes import attributes_size
from letsgo_queue.console.extension import Section
from letsgo_queue.console.pages import Pages
from letsgo_queue.envelope import CLAIM_CHECK, sealed_fields, unwrap
from letsgo_queue.events import MessageSent
from letsgo_queue.log import get_logger
from letsgo_queue.settings import QueueSettings

logger = get_logger(__name__)

WEIGHED = 1_000
"""The most messages that it weighs if looking at them costs nothing."""

RECEIVED = 100
"""The most messages that it receives if only a receive shows them."""

AT_ONCE = 50
"""The most messages that it keeps in memory at once."""


def audit_section(path: Path) -> Section:
    """The section of a report.

    Args:
        path: The report, as JSON.

    Raises:
        AuditInvalid: The file cannot be read, or is no report.
    """
    AuditReport.load(path)

    def show(_request: Request) -> Response:
        return _answer(page(AuditReport.load(path), back=("/", "Console")))

    return Section("Audit", "/audit", [Route("/audit", show)])


def sample_section(pages: Pages, queues: Sequence[str | None], *, read_only: bool) -> Section:
    """The section that weighs messages that wait.

    Args:
        pages: Renders its first page.
        queues: The console's queues; None for the queue of the environment.
        read_only: Whether it receives nothing.
    """
    return Section("Audit", "/audit", _SamplePages(pages, queues, read_only=read_only).routes)


class _SamplePages:
    """The section's pages, and the last report of each queue that is weighed only on request.

    Attributes:
        routes: These pages.
    """

    def __init__(self, pages: Pages, queues: Sequence[str | None], *, read_only: bool) -> None:
        self._pages = pages
        self._queues = queues
        self._read_only = read_only
        self._reports: dict[int, AuditReport] = {}
        self._lock = threading.Lock()
        self.routes = [
            Route("/audit", self._choose),
            Route("/audit/{queue:int}", self._show),
            Route("/audit/{queue:int}", self._weigh, methods=["POST"]),
        ]

    def _choose(self, request: Request, *, empty: str | None = None) -> Response:
        rows = []
        for number in range(len(self._queues)):
            with closing(self._watch(number)) as watch:
                rows.append((number, watch.url, watch.peek_costs, number in self._reports))
        return self._pages.render(
            request, "audit.html", rows=rows, weighed=WEIGHED, received=RECEIVED, empty=empty
        )

    def _show(self, request: Request) -> Response:
        number = self._number_in(request)
        with closing(self._watch(number)) as watch:
            if watch.peek_costs is None:
                self._reports[number] = weigh(watch, WEIGHED)
            report = self._reports.get(number)
            if report is None:
                return RedirectResponse("/audit", 303)
            if not report.types:
                return self._choose(request, empty=watch.url)
            about = (
                f"Messages that waited on {watch.url}, the oldest first. What is handled quickly "
                "is rarely among them: an audit of your tests or of production knows more."
            )
            return _answer(page(report, back=("/audit", "Audit"), about=about))

    async def _weigh(self, request: Request) -> Response:
        number = self._number_in(request)
        if self._read_only:
            raise HTTPException(403, "This console was started with --read-only: it receives none.")

        def receive() -> AuditReport:
            with self._lock, closing(self._watch(number)) as watch:
                logger.info("console: weighs messages of %s", watch.url)
                return weigh(watch, RECEIVED)

        self._reports[number] = await run_in_threadpool(receive)
        return RedirectResponse(request.url.path, 303)

    def _watch(self, number: int) -> QueueWatch:
        return open_watch(self._queues[number], QueueSettings.from_environment())

    def _number_in(self, request: Request) -> int:
        number = int(request.path_params["queue"])
        if number >= len(self._queues):
            raise HTTPException(404, "This console has no such queue.")
        return number


def weigh(watch: QueueWatch, most: int) -> AuditReport:
    """Weigh messages that wait.

    Args:
        watch: Looks at their queue.
        most: How many at most.
    """
    audit = SizeAudit()
    after, left = None, most
    while left > 0:
        asked = left if watch.peek_costs else min(left, AT_ONCE)
        peek = watch.peek(limit=asked, after=after)
        for message in peek.messages:
            audit(_sent(message, watch.url))
        left -= asked
        after = peek.after
        if after is None:
            break
    return audit.report()


def _sent(message: PeekedMessage, queue: str) -> MessageSent:
    """Return the event that sending a waiting message must have emitted."""
    of_attributes = attributes_size(message.attributes)
    whole = message.size if message.whole_size is None else message.whole_size + of_attributes
    stored = _stored_in(message.body) if message.route == "stored" else 0
    result = EnqueueResult(
        message_id=message.message_id,
        queue=queue,
        route=message.route,
        size=whole,
        sent_size=message.size,
        stored_size=stored,
        claim_id=None,
    )
    return MessageSent(
        type=message.type,
        queue=queue,
        message_id=message.message_id,
        size=whole,
        attributes_size=of_attributes,
        sent_size=message.size,
        stored_size=stored,
        route=message.route,
        duration=0.0,
        result=result,
    )


def _stored_in(body: str) -> int:
    """The bytes in the store, as the ticket says; 0 if it does not say."""
    wrapped = unwrap(body)
    fields: Mapping[str, Any] = sealed_fields(body if wrapped is None else wrapped.body) or {}
    ticket = fields.get(CLAIM_CHECK)
    told = cast("Mapping[str, Any]", ticket).get("stored") if isinstance(ticket, Mapping) else None
    return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else 0


def _answer(text: str) -> Response:
    return HTMLResponse(text, headers={"content-security-policy": _POLICY})


_POLICY = f"{policy()}; img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
"""The page's own policy, and rules that only a header can set. A browser asks for an icon by
itself, hence `img-src`."""
