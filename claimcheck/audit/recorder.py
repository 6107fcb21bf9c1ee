"""The recorder: weighs the messages that clients send, in tests and in production."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from claimcheck.audit.report import AuditReport
from claimcheck.audit.settings import AuditSettings
from claimcheck.audit.tally import TypeTally
from claimcheck.errors import AuditInvalid, SettingsInvalid
from claimcheck.middleware import EnqueueResult
from letsgo_queue.events import Event, MessageNotSent, MessageSent
from letsgo_queue.log import get_logger
from letsgo_queue.validation import check_number

logger = get_logger(__name__)

OTHER_TYPES = "(other types)"
"""The type under which messages are counted once there are `max_types` others."""

NO_TYPE = "(no type)"

DEFAULT_MAX_TYPES = 1000


class SizeAudit:
    """Weighs every message that clients send, or a sample. Safe to share between threads.

        audit = SizeAudit(sample=0.1)
        listen_to_all(audit)
        ...
        audit.report().save(Path("sizes.json"))

    It is a listener: `listen_to_all` gives it the events of every client in the process,
    `add_listener` those of one. It keeps sums and sketches, so its memory does not grow with the
    number of messages.
    """

    def __init__(
        self,
        settings: AuditSettings | None = None,
        *,
        sample: float = 1.0,
        label: Callable[[], str | None] | None = None,
        max_types: int = DEFAULT_MAX_TYPES,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Start with no messages.

        Args:
            settings: The settings that the report compares messages with; by default the defaults,
                with the claim check's settings in the environment.
            sample: Share of messages that are weighed; the others cost next to nothing.
            label: Called for a message that is the largest of its type so far. It says where the
                message came from: the name of a test, or of a route.
            max_types: How many message types are told apart.
            draw: Gives random numbers from 0 to 1, which choose the samples. By default
                `random.random`, whose numbers differ in forked processes.

        Raises:
            SettingsInvalid: `sample` is not over 0 and up to 1, or `max_types` is not positive.
        """
        check_number("sample", sample, whole=False)
        if not 0 < sample <= 1:
            raise SettingsInvalid(f"sample={sample}: give a share over 0, up to 1.")
        check_number("max_types", max_types)
        if max_types < 1:
            raise SettingsInvalid(f"max_types={max_types}: give a number above 0.")
        self._settings = settings or AuditSettings().with_environment()
        self._sample = sample
        self._label = label
        self._max_types = max_types
        self._draw = draw
        self._tallies: dict[str, TypeTally] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Weigh the message of an event."""
        if not isinstance(event, MessageSent | MessageNotSent):
            return
        if self._sample < 1 and self._draw() >= self._sample:
            return
        size = event.size
        message_type = event.type or NO_TYPE
        label = self._ask_for_label(message_type, size)
        with self._lock:
            tally = self._tally(message_type)
            if tally.is_largest(size):
                tally.name_largest(label)
            if isinstance(event, MessageNotSent):
                tally.add_not_sent(size)
                return
            sealed = event.result if isinstance(event.result, EnqueueResult) else None
            tally.add_sent(
                size,
                event.sent_size,
                sealed.route if sealed else "inline",
                stored_size=sealed.stored_size if sealed else 0,
                fifo=event.queue.endswith(".fifo"),
                place=self._settings.place,
                purge=self._settings.purge,
                kms_requests=self._settings.kms_requests,
            )

    def merge(self, report: AuditReport) -> None:
        """Add the report of another audit, from another process perhaps.

        Raises:
            AuditInvalid: That audit weighed another share of its messages, or its report is a
                summary, which has no histograms.
        """
        if report.sample != self._sample:
            raise AuditInvalid(
                f"a report of {report.sample:.2%} of the messages cannot be added to one of "
                f"{self._sample:.2%}."
            )
        if any(each.is_summary for each in report.types):
            raise AuditInvalid("a summary (a baseline is one) has no histograms to add up.")
        with self._lock:
            for each in report.types:
                self._tally(each.type).merge(each)

    def report(self) -> AuditReport:
        """Report what was weighed so far."""
        with self._lock:
            tallies = list(self._tallies.values())
        types = []
        for tally in tallies:
            with self._lock:  # once for each, so that no message waits for all of them
                types.append(tally.report(self._settings.prices))
        return AuditReport(
            created_at=datetime.now(UTC).replace(microsecond=0),
            sample=self._sample,
            settings=self._settings,
            types=tuple(sorted(types, key=lambda each: each.type)),
        )

    def _ask_for_label(self, message_type: str, size: int) -> str | None:
        """Ask where a message came from, if it may be the largest of its type.

        The lock is free meanwhile: a label is somebody else's code, and may send messages too.
        """
        known = self._tallies.get(message_type)
        if self._label is None or (known is not None and not known.is_largest(size)):
            return None
        try:
            label = self._label()
        except Exception:
            logger.exception("the label of a message of type %r is not known", message_type)
            return None
        return None if label is None else str(label)

    def _tally(self, message_type: str) -> TypeTally:
        if message_type not in self._tallies and len(self._tallies) >= self._max_types:
            message_type = OTHER_TYPES
        if message_type not in self._tallies:
            self._tallies[message_type] = TypeTally(message_type, self._draw)
        return self._tallies[message_type]
