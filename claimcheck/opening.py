"""Opens messages of any queue, for the middleware and for `@unwrap_claim_check`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge, check_purge
from claimcheck.core.opened import Opened
from claimcheck.errors import (
    ClaimAlreadyProcessed,
    RecordUnsupported,
    SettingsInvalid,
)
from claimcheck.in_test import claim_check_in
from claimcheck.settings import claim_check_for, region_for
from letsgo_queue import in_test
from letsgo_queue.aws_pointers import IN_EVERY_POINTER
from letsgo_queue.envelope import is_sealed, unwrap_sealed
from letsgo_queue.log import get_logger
from letsgo_queue.settings import is_sqs, split_url, url_in_environment

logger = get_logger(__name__)

OnDuplicate: TypeAlias = Literal["acknowledge", "raise"]
"""How to treat a delivery of a message that was handled before."""


class Opener:
    """Opens messages of any queue. Safe to share between threads."""

    def __init__(
        self,
        claim_check: ClaimCheck | None = None,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate | None = None,
        once: bool | None = None,
    ) -> None:
        """Make an opener, without opening a store yet.

        Args:
            claim_check: By default made from the environment, on first use.
            purge: When contents are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler (the default), or `raise` `ClaimAlreadyProcessed`.
            once: Whether every message gets a record, also one without a claim; by default not.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known, or `claim_check` is something
                else than a claim check.
        """
        if not isinstance(claim_check, ClaimCheck | None):
            raise SettingsInvalid(
                f"claim_check is of type {type(claim_check).__name__}: give a ClaimCheck(...), or "
                "leave it out and set CLAIMCHECK_STORE."
            )
        if purge is not None:
            check_purge(purge)
        if on_duplicate is not None and on_duplicate not in get_args(OnDuplicate):
            raise SettingsInvalid(f"on_duplicate={on_duplicate!r}: give 'acknowledge' or 'raise'.")
        self._claim_check = claim_check
        self._purge = purge
        self._on_duplicate = on_duplicate
        self._once = once
        self._by_queue: dict[str | None, ClaimCheck] = {}

    def inside(self, outer: Opener) -> Opener:
        """Return an opener with these options, and with those of `outer` that are unset here."""
        opener = Opener(
            self._claim_check or outer._claim_check,
            purge=self._purge or outer._purge,
            on_duplicate=self._on_duplicate or outer._on_duplicate,
            once=outer._once if self._once is None else self._once,
        )
        opener._by_queue = outer._by_queue  # the environment is the same for both
        return opener

    @property
    def purge(self) -> Purge | None:
        """When contents are removed; None for the claim check's own setting."""
        return self._purge

    @property
    def once(self) -> bool:
        """Whether every message gets a record."""
        return bool(self._once)

    def refuses_unsealed(self, queue: str | None) -> bool:
        """Whether a message that is not sealed must be refused; see `ClaimCheck`."""
        return self.claim_check_for(queue).refuses_unsealed

    def opens_pointer(self, body: object, queue: str | None) -> bool:
        """Whether a body is, or wraps, a pointer of AWS's clients that this opener opens."""
        if not isinstance(body, str) or IN_EVERY_POINTER not in body:
            return False
        wrapped = unwrap_sealed(body)
        inside = body if wrapped is None else wrapped.body
        return self.claim_check_for(queue).opens_pointer(inside)

    def claim_check_for(self, queue: str | None) -> ClaimCheck:
        """Return the claim check for the messages of a queue.

        Args:
            queue: Its URL; None if the message does not say, for the queue of the environment.

        Raises:
            SettingsInvalid: A setting cannot be used.
        """
        if (test := in_test.surroundings()) is not None:
            return claim_check_in(test, self._claim_check, queue)
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
        message_id: str | None,
        lease_seconds: float | None,
        lease_id: str | None = None,
        fields: Mapping[str, Any] | None = None,
        is_tick: bool = False,
        settled_by: str = "It is acknowledged.",
    ) -> Opened | None:
        """Open a message; the arguments are those of `ClaimCheck.open`, which says what it raises.

        A sealed message in an envelope of SNS, EventBridge or a pipe is opened in it: the envelope
        stays around the message.

        A tick of a schedule always gets a record: every worker of a fleet has the tick, and only
        one of them may handle it.

        Args:
            body: The body from the queue.
            queue: URL of that queue, if it is known.
            message_id: The message's id; with `once=True` it must have one.
            lease_seconds: How long the message stays invisible, if that is known.
            lease_id: The id of the lease with which this delivery holds the claim.
            fields: The body's fields, if it is sealed and was parsed already.
            is_tick: Whether it is a tick of a schedule.
            settled_by: How a duplicate is settled, for the log.

        Returns:
            The message; None if it is a duplicate, to acknowledge.
        """
        has_record = self.once or is_tick
        claim_check = self.claim_check_for(queue)
        wrapped = None if is_tick or fields is not None else unwrap_sealed(body)
        if wrapped is not None and not is_sealed(wrapped.body):
            # A pointer of AWS's clients, which the application may open itself.
            wrapped = wrapped if claim_check.opens_pointer(wrapped.body) else None
        try:
            opened = claim_check.open(
                body if wrapped is None else wrapped.body,
                message_id=message_id,
                lease_id=lease_id,
                lease_seconds=lease_seconds,
                purge=self._purge,
                once=_once_key(queue, message_id) if has_record and message_id else None,
                consumer=consumer_of(queue),
                fields=fields,
                made_here=is_tick,
            )
        except ClaimAlreadyProcessed as error:
            if is_tick:
                return None
            if self._on_duplicate == "raise":
                raise
            logger.warning("%s %s", error, settled_by)
            return None
        if wrapped is not None:
            opened.body = wrapped.around(opened.body)
        return opened


def in_unknown_envelope(message: str) -> RecordUnsupported:
    """Make the error for a message with a claim check in an unknown envelope.

    Args:
        message: Its id, for people.
    """
    return RecordUnsupported(
        f"message {message}: its body has a claim check in an envelope that is not known, or was "
        "parsed before it could be opened. The envelopes of SNS, EventBridge and pipes are opened "
        "where the body is text. Have an input transformer pass on the message alone."
    )


@functools.lru_cache(maxsize=1_000)
def consumer_of(queue: str | None) -> str | None:
    """Name a queue that has a message, in the same way on a worker and in Lambda.

    The name of an SQS queue is the end of its ARN, `REGION:ACCOUNT:NAME`, since several regions and
    accounts may have a queue of the same name. The name of any other queue is its URL.

    Args:
        queue: Its URL; None, or empty, if the message does not say.
    """
    if not queue:
        return None
    if not is_sqs(queue):
        return queue.partition("?")[0]
    url = split_url(queue)
    account, name = url.path.strip("/").split("/")[-2:]
    return f"{region_for(queue) or url.hostname}:{account}:{name}"


def _once_key(queue: str | None, message_id: str) -> str:
    """Name a message on its queue, in the same way on a worker and in Lambda, whatever the URL."""
    name = urlsplit(queue or "").path.rstrip("/").rpartition("/")[2]
    return f"once/{name}/{message_id}@"
