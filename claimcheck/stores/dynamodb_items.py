"""Items of one DynamoDB table: put, read, changed and deleted, through pynamodb.

pynamodb's models cannot ask for the item that made a condition fail, so this stands on its
low-level `Connection`. Every answer tells the store's clock the time. Everything that pynamodb and
botocore raise becomes an error of ours. No other module of the store loads them, which takes a
Lambda function a good part of its start.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.connection import Connection

from claimcheck.errors import (
    ClaimStoreError,
    ClaimStoreUnavailable,
    ClaimTableMissing,
)
from letsgo_queue.aws_client import DYNAMODB, error_code, explain, make_client, passes, time_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from claimcheck.stores.clock import ServerClock
    from claimcheck.stores.dynamodb_values import Item, Value
    from claimcheck.stores.layout import Layout

MAX_POOL_CONNECTIONS = 50
"""For the threads of a store and all its callers."""

LARGEST_BATCH = 100
"""Items that one request may read:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""

PAGE_ITEMS = 1_000
"""Items on a page of a table, so that a page of very small ones takes little memory."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
"""How long to wait before DynamoDB is asked again for what it left out of a batch."""

MAX_RETRIES = 4
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 15

_READS = {"BatchGetItem", "DescribeTable", "GetItem", "Scan"}
_CONDITION_FAILED = "ConditionalCheckFailedException"
_NO_TABLE = "ResourceNotFoundException"
_TRY_AGAIN = {
    "ExpiredTokenException",
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A conditional write that changed nothing.

    Attributes:
        item: The item that does not fit the condition; empty if there is none.
    """

    item: Item


class _ConditionFailedError(Exception):
    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item


class DynamoDBItems:
    """The items of a table.

    Every method takes `failed`, which says what an error prevented: `claim X was not stored`. Every
    method raises `ClaimStoreError`.
    """

    def __init__(
        self,
        table: str,
        *,
        store: str,
        region: str | None,
        endpoint_url: str | None,
        session: boto3.session.Session | None,
        clock: ServerClock,
        layout: Layout,
    ) -> None:
        """Make a client; nothing is asked of the table yet.

        Args:
            table: The table's name.
            store: Names the store in errors.
            region: The table's region; None for that of the session.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have; None for those of the
                environment.
            clock: Learns the time from every answer.
            layout: How the table names its keys and its expiry.

        Raises:
            SettingsInvalid: No client can be made so.
            ClaimStoreUnavailable: Credentials could not be fetched.
        """
        self._table = table
        self._store = store
        self._clock = clock
        self._layout = layout
        self._connection = _Connection(region, endpoint_url, session)
        try:
            # Made now: pynamodb makes it on first use, which is not safe on several threads.
            self.region: str = self._connection.client.meta.region_name
        except BotoCoreError as error:
            raise self._error("no client could be made", error) from error

    def put(self, key: str, item: Item, *, expires_at: Value, failed: str) -> None:
        """Write an item, in place of one with the same key.

        Args:
            key: Its key.
            item: Everything else in it.
            expires_at: When it may be removed.
            failed: What an error prevents.
        """
        whole = {**self._layout.key(key), **item, self._layout.expires_at: expires_at}
        self._call("PutItem", {"Item": whole}, failed)

    def get(self, key: str, *, consistent: bool, failed: str) -> Item | None:
        """Read an item; None if there is none.

        Args:
            key: Its key.
            consistent: Whether to see every write that was answered before, for twice the price.
            failed: What an error prevents.
        """
        request = {"Key": self._layout.key(key), "ConsistentRead": consistent}
        item: Item | None = self._call("GetItem", request, failed).get("Item")
        return item

    def look(self, key: str, names: Sequence[str], *, failed: str) -> Item | None:
        """Read some attributes of an item, with every write that was answered before.

        Args:
            key: Its key.
            names: Which attributes, beside the key. The whole item is billed.
            failed: What an error prevents.
        """
        request = {
            "Key": self._layout.key(key),
            "ConsistentRead": True,
            **self._projected([self._layout.hash_key, *names]),
        }
        item: Item | None = self._call("GetItem", request, failed).get("Item")
        return item

    def look_at_many(
        self, keys: Sequence[str], names: Sequence[str], *, failed: str
    ) -> Iterator[Item]:
        """Read some attributes of those items that are there, in any order.

        Args:
            keys: Their keys.
            names: As for `look`.
            failed: What an error prevents.
        """
        for start in range(0, len(keys), LARGEST_BATCH):
            asked = [self._layout.key(key) for key in keys[start : start + LARGEST_BATCH]]
            names_too = [self._layout.hash_key, *names]
            pause = FIRST_PAUSE_SECONDS
            while asked:
                table = {"Keys": asked, **self._projected(names_too)}
                request = {"RequestItems": {self._table: table}}
                answer = self._call("BatchGetItem", request, failed, of_table=False)
                yield from answer["Responses"].get(self._table, [])
                asked = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if asked:  # DynamoDB was asked too much
                    time.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def scan(
        self, names: Sequence[str], *, having: Sequence[str], failed: str
    ) -> Iterator[Sequence[Item]]:
        """Read some attributes of all items of ours, a page at a time: 1 MB of the table at most.

        Args:
            names: As for `look`. All items are billed, and all of each.
            having: Leave out items that have none of these attributes.
            failed: What an error prevents.
        """
        request = self._projected([self._layout.hash_key, *names, *having])
        request["Limit"] = PAGE_ITEMS
        names_of = {value: name for name, value in request["ExpressionAttributeNames"].items()}
        wanted = " OR ".join(f"attribute_exists({names_of[name]})" for name in having)
        request["FilterExpression"] = wanted
        if self._layout.prefix:
            ours = f"begins_with({names_of[self._layout.hash_key]}, :prefix)"
            request["FilterExpression"] = f"{ours} AND ({wanted})"
            request["ExpressionAttributeValues"] = {":prefix": {"S": self._layout.prefix}}
        while True:
            answer = self._call("Scan", request, failed)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def size(self, *, failed: str) -> int:
        """Bytes of the table, which DynamoDB counts every six hours."""
        answer = self._call("DescribeTable", {}, failed)
        return int(answer["Table"].get("TableSizeBytes", 0))

    def name_of(self, item: Item) -> str:
        """The key of an item, as it was given."""
        return str(item[self._layout.hash_key]["S"]).removeprefix(self._layout.prefix)

    def update(
        self,
        key: str,
        change: str,
        condition: str,
        *,
        values: Mapping[str, Value],
        failed: str,
    ) -> Refusal | None:
        """Change an item, or make it: one conditional write.

        Args:
            key: Its key.
            change: The change, as an update expression of DynamoDB, with `#id`, `#expires_at` and
                `#state` for these attributes.
            condition: The condition that the item must meet, as a condition expression of DynamoDB.
            values: The values of names such as `:mine` in them.
            failed: What an error prevents.

        Returns:
            None if the item was changed.
        """
        request = self._request(key, condition, values, f"{change} {condition}")
        return self._write("UpdateItem", {"UpdateExpression": change, **request}, failed)

    def delete(
        self,
        key: str,
        condition: str = "",
        *,
        values: Mapping[str, Value] | None = None,
        failed: str,
    ) -> Refusal | None:
        """Remove an item, under a condition if there is one; see `update`.

        An item that is gone already is no error.
        """
        return self._write("DeleteItem", self._request(key, condition, values, condition), failed)

    def close(self) -> None:
        """Close all connections to the server."""
        self._connection.client.close()

    def _projected(self, names: Sequence[str]) -> dict[str, Any]:
        """Limits an answer to some attributes. Many names are reserved words."""
        own = {f"#n{number}": name for number, name in enumerate(dict.fromkeys(names))}
        return {"ProjectionExpression": ", ".join(own), "ExpressionAttributeNames": own}

    def _request(
        self, key: str, condition: str, values: Mapping[str, Value] | None, expressions: str
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"Key": self._layout.key(key)}
        if condition:
            request["ConditionExpression"] = condition
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if names := self._layout.names_in(expressions):
            request["ExpressionAttributeNames"] = names
        if values:
            request["ExpressionAttributeValues"] = values
        return request

    def _write(self, operation: str, request: dict[str, Any], failed: str) -> Refusal | None:
        try:
            self._call(operation, request, failed)
        except _ConditionFailedError as error:
            return Refusal(error.item)
        return None

    def _call(
        self, operation: str, request: dict[str, Any], failed: str, *, of_table: bool = True
    ) -> dict[str, Any]:
        sent = self._clock.moment()
        table = {"TableName": self._table} if of_table else {}
        try:
            answer = self._connection.dispatch(operation, {**table, **request})
        except ClientError as error:
            # pynamodb's own error leaves out what the server said beyond code and text.
            cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
            self._learn(cause.response, sent)
            if error_code(cause) == _CONDITION_FAILED:
                item = cast("Mapping[str, Item]", cause.response).get("Item", {})
                raise _ConditionFailedError(item) from None
            raise self._error(failed, cause) from error
        except BotoCoreError as error:
            raise self._error(failed, error) from error
        self._learn(answer, sent)
        # An answer that was cut off on its way does not fit its checksum. botocore asks again, and
        # returns the last one as if it were whole: as an item that is not there. A write is done by
        # then.
        if operation in _READS and answer.get("ResponseMetadata", {}).get("MaxAttemptsReached"):
            raise ClaimStoreUnavailable(
                f"claim store {self._store}: {failed}: the answer was damaged on its way."
            )
        return answer

    def _learn(self, answer: Mapping[str, Any], sent: float) -> None:
        # After retries the answer tells the time less exactly, as sending was long ago.
        self._clock.learn(time_of(answer), sent=sent, received=self._clock.moment())

    def _error(self, failed: str, error: ClientError | BotoCoreError) -> ClaimStoreError:
        where = f"claim store {self._store}: {failed}"
        if isinstance(error, BotoCoreError):
            return ClaimStoreUnavailable(f"{where}: {explain(error)}.")
        if error_code(error) == _NO_TABLE:
            return ClaimTableMissing(
                f"{where}: the table {self._table} does not exist in region {self.region}. "
                f"{self._layout.remedy}"
            )
        if passes(error, _TRY_AGAIN):
            return ClaimStoreUnavailable(f"{where}: {explain(error)}.")
        return ClaimStoreError(f"{where}: {explain(error)}.")


class _Connection(Connection):
    """pynamodb's connection, with a client from a session of the caller's choice."""

    def __init__(
        self,
        region: str | None,
        endpoint_url: str | None,
        session: boto3.session.Session | None,
    ) -> None:
        super().__init__(
            region=region,
            host=endpoint_url,
            connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            read_timeout_seconds=READ_TIMEOUT_SECONDS,
            max_retry_attempts=MAX_RETRIES,
            max_pool_connections=MAX_POOL_CONNECTIONS,
        )
        self._client_maker = _ClientMaker(session)

    @property
    def session(self) -> botocore.session.Session:
        """Makes the client for pynamodb, which uses no other method of a session."""
        return cast("botocore.session.Session", self._client_maker)


class _ClientMaker:
    """Stands for a botocore session, which a boto3 session does not give away."""

    def __init__(self, session: boto3.session.Session | None) -> None:
        self._session = session

    def create_client(
        self,
        service_name: str,
        region_name: str | None,
        *,
        endpoint_url: str | None,
        config: Config,
    ) -> DynamoDBClient:
        del service_name  # always DynamoDB
        return make_client(
            DYNAMODB, self._session, region=region_name, endpoint_url=endpoint_url, config=config
        )
