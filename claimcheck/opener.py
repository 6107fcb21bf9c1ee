"""Opening messages, with the claim check that belongs to their queue.

The middleware and `@unwrap_claim_check` share it.
"""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from claimcheck.core.claim_check import ClaimCheck, Opened
from claimcheck.core.life import Purge, check_purge
from claimcheck.errors import ClaimAlreadyProcessed, SettingsInvalid
from claimcheck.settings import claim_check_for
from letsgo_queue.settings import url_in_environment

logger = logging.getLogger(__name__)

OnDuplicate: TypeAlias = Literal["acknowledge", "raise"]
"""What becomes of a delivery of a message that was handled before."""


class Opener:
    """Opens messages of any queue. Safe to share between threads."""

    def __init__(
        self,
        claim_check: ClaimCheck | None = None,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate = "acknowledge",
        once: bool = False,
    ) -> None:
        """Make an opener; no store is opened yet.

        Args:
            claim_check: By default the one that the environment describes, made on first use.
            purge: When contents are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler, or `raise` `ClaimAlreadyProcessed`.
            once: Whether every message gets a record, also one without a claim.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known.
        """
        if purge is not None:
            check_purge(purge)
        if on_duplicate not in get_args(OnDuplicate):
            raise SettingsInvalid(f"on_duplicate={on_duplicate!r}: give 'acknowledge' or 'raise'.")
        self.once = once
        self._claim_check = claim_check
        self._purge = purge
        self._on_duplicate = on_duplicate
        self._by_queue: dict[str | None, ClaimCheck] = {}

    def claim_check_for(self, queue: str | None) -> ClaimCheck:
        """The claim check for the messages of a queue.

        Args:
            queue: Its URL; None where a message does not say, for that of the environment.

        Raises:
            SettingsInvalid: A setting cannot be used.
        """
        if self._claim_check is not None:
            return self._claim_check
        if queue not in self._by_queue:
            self._by_queue[queue] = claim_check_for(queue or url_in_environment() or "")
        return self._by_queue[queue]

    def open(
        self,
        body: str,
        *,
        queue: str | None,
        message_id: str,
        lease_seconds: float | None,
        lease_id: str | None = None,
        is_tick: bool = False,
    ) -> Opened | None:
        """Open a message; the arguments are those of `ClaimCheck.open`, which says what it raises.

        A tick of a schedule gets a record always, since every worker of a fleet has it, and all but
        one of them find it handled.

        Returns:
            The message; None for a duplicate that is to be acknowledged.
        """
        try:
            return self.claim_check_for(queue).open(
                body,
                message_id=message_id,
                lease_id=lease_id,
                lease_seconds=lease_seconds,
                purge=self._purge,
                once=_once_key(queue, message_id) if self.once or is_tick else None,
            )
        except ClaimAlreadyProcessed as error:
            if is_tick:
                return None
            if self._on_duplicate == "raise":
                raise
            logger.warning("%s It is acknowledged.", error)
            return None


def _once_key(queue: str | None, message_id: str) -> str:
    """Names a message on its queue, the same on a worker and in Lambda, whatever the URL."""
    name = urlsplit(queue or "").path.rstrip("/").rpartition("/")[2]
    return f"once/{name}/{message_id}@"
