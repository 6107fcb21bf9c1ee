"""A DynamoDB table that is opened when it is first used, and again after `close` or a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimcheck.stores.calls import Calls
from claimcheck.stores.clock import ServerClock
from claimcheck.stores.labels import store_label
from letsgo_queue.forking import PerProcess

if TYPE_CHECKING:
    import boto3

    from claimcheck.stores.dynamodb_items import DynamoDBItems

DEFAULT_PARALLELISM = 4
"""Threads of one store, for the parts of its claims. More take memory and save no time: base64,
JSON and hashing keep the interpreter for a third of the time that a full part is under way."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a process has while the table is open.

    Attributes:
        items: The items of the table.
        calls: The threads for calls to it.
    """

    items: DynamoDBItems
    calls: Calls


class DynamoDBOpening:
    """The base of what keeps something in a table: it opens and closes the table.

    Attributes:
        url: Names the store, as the settings do.
        table: The table's name.
        region: Its region; None where AWS's own settings decide.
        endpoint_url: Another server than AWS's own.
        session: The boto3 session for its requests; None for one of its own.
    """

    def __init__(
        self,
        table: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Name the table; nothing is loaded, opened or asked yet.

        Args:
            table: The table's name.
            region: Its region; by default that of `session`, `AWS_REGION`, or what AWS's own
                settings say.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have, in a forked process too. It may
                be the one that the queue has.
            parallelism: Threads for the parts of all claims; each caller makes calls as well.
            clock: Seconds since 1970, instead of what the `Date` of DynamoDB's answers says.
        """
        self.url = f"dynamodb://{table}"
        self.table = table
        self.endpoint_url = endpoint_url
        self.session = session
        own = session.region_name if session else None
        self.region = region or own or os.environ.get("AWS_REGION") or None
        self._parallelism = parallelism
        self._server_clock = ServerClock(f"claim store {self.url}")
        self._clock = clock
        self._table = PerProcess(self._open)

    @property
    def label(self) -> str:
        """Names the table as tickets do: `dynamodb:eu-west-1:letsgo-claims`."""
        return store_label(f"dynamodb:{self.region or self._opened().items.region}", self.table)

    def close(self) -> None:
        """Close connections and end threads; see `ClaimStore.close`.

        Calls that other callers make themselves are not waited for.
        """
        opened = self._table.made
        if opened is not None:
            opened.calls.close()  # a read that is under way may still ask for what is open
            opened.items.close()
            self._table.forget(opened)

    def _opened(self) -> Opened:
        return self._table.get()

    def _open(self) -> Opened:
        # Loaded now: small messages need no store.
        from claimcheck.stores.dynamodb_items import DynamoDBItems

        return Opened(
            DynamoDBItems(
                self.table,
                store=self.url,
                region=self.region,
                endpoint_url=self.endpoint_url,
                session=self.session,
                clock=self._server_clock,
            ),
            Calls(self._parallelism, name="claimcheck-dynamodb"),
        )
