"""Weighs a folder of JSON payloads as if each was enqueued. Nothing is sent or stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from pydantic_core import from_json

from claimcheck.audit.recorder import SizeAudit
from claimcheck.audit.report import AuditReport
from claimcheck.audit.settings import AuditSettings
from claimcheck.core.claim_check import ClaimCheck
from claimcheck.errors import AuditInvalid, BodyTooLarge
from claimcheck.middleware import EnqueueResult
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.events import Event, MessageNotSent, MessageSent
from letsgo_queue.files import read_file
from letsgo_queue.message import encode
from letsgo_queue.text import shown

_QUEUE = "files"


class _Limits(TypedDict):
    threshold: int | Literal["auto"]
    inline_limit: int
    max_size: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that could not be weighed.

    Attributes:
        path: Its path.
        reason: Why it could not be weighed.
    """

    path: Path
    reason: str


def json_files(folder: Path) -> Sequence[Path]:
    """Find the JSON files in a folder and below it.

    Raises:
        AuditInvalid: It is not a folder, or it has no JSON files.
    """
    try:
        if not folder.is_dir():
            raise AuditInvalid(f"{folder} is no folder: name a folder with JSON files.")
        found = sorted(path for path in folder.rglob("*.json") if path.is_file())
    except OSError as error:
        raise AuditInvalid(f"{folder}: {error.strerror}.") from error
    if not found:
        raise AuditInvalid(f"{folder} holds no *.json files.")
    return found


def weigh_files(
    folder: Path,
    paths: Sequence[Path],
    *,
    settings: AuditSettings,
    claim_check: ClaimCheckSettings,
    advance: Callable[[], object],
) -> tuple[AuditReport, Sequence[LeftOut]]:
    """Weigh files, each a message or a payload.

    Args:
        folder: Where they are. The type of a file that is no message is the path of its folder,
            from here.
        paths: The files.
        settings: The report compares messages with these. Their limit is the limit of the queue.
        claim_check: How messages are sealed.
        advance: Called after each file.

    Returns:
        The report, and the files that could not be weighed.
    """
    weighing: list[str] = []
    audit = SizeAudit(settings, label=lambda: weighing[0])
    limits = _Limits(
        threshold=claim_check.threshold,
        inline_limit=claim_check.inline_limit or settings.limit,
        max_size=claim_check.max_size,
    )
    left_out = []
    for path in paths:
        weighing[:] = [shown(path.relative_to(folder).as_posix())]
        try:
            audit(_as_sent(path, _type_for(path, folder), limits))
        except (OSError, ValueError, MessageInvalid) as error:
            left_out.append(LeftOut(path, _reason(error)))
        advance()
    return audit.report(), left_out


def _type_for(path: Path, folder: Path) -> str:
    """The type of a payload that does not say its type."""
    below = path.parent.relative_to(folder).as_posix()
    return folder.resolve().name if below == "." else below


def _as_sent(path: Path, default_type: str, limits: _Limits) -> Event:
    """The event that a client would emit for a file's message."""
    content = from_json(read_file(path))
    is_message = isinstance(content, dict) and "type" in content.keys() <= {"type", "payload"}
    message = content if is_message else {"type": default_type, "payload": content}
    message_type, body = encode(message)
    try:
        # In a store of its own, which is thrown away.
        sealed = ClaimCheck(MemoryClaimStore(), **limits).seal(body, type=message_type)
    except BodyTooLarge as error:
        return MessageNotSent(
            type=message_type, queue=_QUEUE, size=len(body), attributes_size=0, error=error
        )
    return MessageSent(
        type=message_type,
        queue=_QUEUE,
        message_id="",
        size=sealed.size,
        attributes_size=0,
        sent_size=len(sealed.body),
        duration=0.0,
        result=EnqueueResult(
            message_id="",
            queue=_QUEUE,
            route=sealed.route,
            size=sealed.size,
            sent_size=len(sealed.body),
            stored_size=sealed.stored,
            claim_id=sealed.claim_id,
        ),
    )


def _reason(error: Exception) -> str:
    """Return why a file was left out, without quoting its content."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, MessageInvalid) else "not JSON"
