"""Opening messages: what a worker's middleware and `@unwrap_claim_check` on Lambda share.

Which claim check opens the messages of a queue, when their claims are purged, and what becomes of
a delivery whose message was handled before.
"""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias, get_args

from claimcheck.core.claim_check import ClaimCheck, Opened
from claimcheck.core.life import Purge, check_purge
from claimcheck.default import claim_check_for
from claimcheck.errors import ClaimAlreadyProcessed, SettingsInvalid
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
    ) -> None:
        """Make an opener; no store is opened yet.

        Args:
            claim_check: By default the one that the environment describes, made on first use.
            purge: When a claim's bytes are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler, or `raise` `ClaimAlreadyProcessed`.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known.
        """
        if purge is not None:
            check_purge(purge)
        if on_duplicate not in get_args(OnDuplicate):
            raise SettingsInvalid(f"on_duplicate={on_duplicate!r}: give 'acknowledge' or 'raise'.")
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
        lease_until: float | None,
        receive_count: int,
        lease_id: str | None = None,
    ) -> Opened | None:
        """Open a message; the arguments are those of `ClaimCheck.open`, which says what it raises.

        Returns:
            The message; None for a duplicate that is to be acknowledged.
        """
        try:
            return self.claim_check_for(queue).open(
                body,
                message_id=message_id,
                lease_id=lease_id,
                lease_until=lease_until,
                receive_count=receive_count,
                purge=self._purge,
            )
        except ClaimAlreadyProcessed as error:
            if self._on_duplicate == "raise":
                raise
            logger.warning("%s It is acknowledged.", error)
            return None
