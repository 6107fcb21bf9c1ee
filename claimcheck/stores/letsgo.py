"""Claims in the table of a LetsGo deployment, beside LetsGo's own items: see `layout`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claimcheck.stores.base import store_label
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.layout import LETSGO
from letsgo_queue.deployment import Deployment

if TYPE_CHECKING:
    import boto3.session


class LetsGoClaimStore(DynamoDBClaimStore):
    """A claim store in the table that LetsGo made for a deployment."""

    def __init__(
        self,
        deployment: Deployment | None = None,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Name the deployment; nothing is loaded, opened or asked yet.

        Args:
            deployment: By default that of the environment.
            region: As for `DynamoDBClaimStore`; so are the other arguments.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have.
            clock: Seconds since 1970, instead of what the `Date` of DynamoDB's answers says.
        """
        self._deployment = deployment or Deployment.from_environment()
        super().__init__(
            self._deployment.table,
            region=region,
            endpoint_url=endpoint_url,
            session=session,
            clock=clock,
            layout=LETSGO,
        )
        self.url = f"letsgo://{self._deployment.name}"

    @property
    def label(self) -> str:
        """Names the table as tickets do: `letsgo:eu-west-1:letsgo-main`."""
        return store_label(f"letsgo:{self.resolved_region}", self.table)

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`; LetsGo's table has no bucket beside it."""
        return self.table_advice
