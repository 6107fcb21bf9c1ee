"""The recorder: weighs what a client sends, in tests and in production."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from claimcheck.audit.report import AuditReport
from claimcheck.audit.settings import AuditSettings
from claimcheck.audit.tally import TypeTally
from claimcheck.errors import SettingsInvalid
from claimcheck.middleware import EnqueueResult
from letsgo_queue.events import Event, MessageNotSent, MessageSent

OTHER_TYPES = "(other types)"
"""Where messages are counted whose types come after `max_types`."""

NO_TYPE = "(no type)"

DEFAULT_MAX_TYPES = 1000


class SizeAudit:
    """Weighs every message that a client sends, or a sample. Safe to share between threads.

        audit = SizeAudit(sample=0.1)
        default_client().add_listener(audit)
        ...
        audit.report().save(Path("sizes.json"))

    It keeps sums and sketches, so its memory does not grow with the number of messages.
    """

    def __init__(
        self,
        settings: AuditSettings | None = None,
        *,
        sample: float = 1.0,
        label: Callable[[], str | None] | None = None,
        max_types: int = DEFAULT_MAX_TYPES,
        random: Random | None = None,
    ) -> None:
        """Start with nothing.

        Args:
            settings: What the report is held against.
            sample: Share of messages that are weighed; the rest costs next to nothing.
            label: Called for the largest message of a type so far: says where it came from, such as
                the name of a test or of a route.
            max_types: How many message types are told apart.
            random: Chooses samples.

        Raises:
            SettingsInvalid: `sample` is not over 0 and up to 1, or `max_types` is not positive.
        """
        if not 0 < sample <= 1:
            raise SettingsInvalid(f"sample={sample}: give a share over 0, up to 1.")
        if max_types < 1:
            raise SettingsInvalid(f"max_types={max_types}: give a number above 0.")
        self._settings = settings or AuditSettings()
        self._sample = sample
        self._label = label
        self._max_types = max_types
        self._random = random or Random()
        self._tallies: dict[str, TypeTally] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Weigh the message of an event; this is the listener."""
        if not isinstance(event, MessageSent | MessageNotSent):
            return
        if self._sample < 1 and self._random.random() >= self._sample:
            return
        size = event.size + event.attributes_size
        with self._lock:
            tally = self._tally(event.type or NO_TYPE)
            if self._label is not None and tally.is_largest(size):
                tally.name_largest(self._label())
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
            )

    def merge(self, report: AuditReport) -> None:
        """Add what another audit has weighed, in another process for one."""
        with self._lock:
            for each in report.types:
                self._tally(each.type).merge(each)

    def report(self) -> AuditReport:
        """What was weighed so far."""
        with self._lock:
            types = [tally.report(self._settings.prices) for tally in self._tallies.values()]
        return AuditReport(
            created_at=datetime.now(UTC).replace(microsecond=0),
            sample=self._sample,
            settings=self._settings,
            types=tuple(sorted(types, key=lambda each: each.type)),
        )

    def _tally(self, message_type: str) -> TypeTally:
        if message_type not in self._tallies and len(self._tallies) >= self._max_types:
            message_type = OTHER_TYPES
        if message_type not in self._tallies:
            self._tallies[message_type] = TypeTally(message_type, self._random)
        return self._tallies[message_type]
