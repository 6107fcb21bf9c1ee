"""Reports of messages that nobody sent, where only sizes and names matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from claimcheck import EnqueueResult
from claimcheck.audit import AuditReport, AuditSettings, SizeAudit
from claimcheck.core.opened import Route
from letsgo_queue import MessageSent

QUEUE = "memory://"

HOSTILE_NAMES = (
    "</script><img src=x onerror=\"document.title='gone'\">",
    "</title></style><script>document.title='gone'</script>",
    "<b>bold</b>",
    "\"quotes' & &amp; &#60;",
    "a\x00\x1b[31mred\x7f\u202egnp.exe",
    "שלום:עולם",
    "x" * 5000,
    "word:" * 200,
    "javascript:document.title='gone'",
)


def report_of(
    types: Mapping[str, Iterable[int]],
    settings: AuditSettings | None = None,
    *,
    route: Route = "inline",
    sent_size: int | None = None,
    test: str | None = None,
) -> AuditReport:
    """A report of messages, by type.

    Args:
        types: Sizes as given, by type.
        settings: What they are held against.
        route: Which way they went.
        sent_size: Bytes on the queue, of each; as given by default.
        test: The test that sent them.
    """
    audit = SizeAudit(settings, draw=Random(3).random, label=lambda: test)
    for message_type, sizes in types.items():
        for size in sizes:
            audit(_sent(message_type, size, sent_size or size, route))
    return audit.report()


def _sent(message_type: str, size: int, sent_size: int, route: Route) -> MessageSent:
    return MessageSent(
        type=message_type,
        queue=QUEUE,
        message_id="1",
        size=size,
        attributes_size=0,
        sent_size=sent_size,
        duration=0.0,
        result=EnqueueResult(
            message_id="1",
            queue=QUEUE,
            route=route,
            size=size,
            sent_size=sent_size,
            stored_size=size // 3 if route == "stored" else 0,
            claim_id=None,
        ),
    )
