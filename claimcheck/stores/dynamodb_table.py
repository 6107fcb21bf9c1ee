"""The DynamoDB table of a claim store: made on request, and checked.

Key `id` (string), nothing else; on-demand billing; TTL on `expires_at`, which removes, at no cost,
claims that nobody fetched. LetsGo's own table is only checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, WaiterError

from claimcheck.errors import ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.base import State
from claimcheck.stores.findings import Change, Finding, denied, look
from claimcheck.stores.layout import OWN, Layout
from letsgo_queue.aws_client import DYNAMODB, make_client, one_line

if TYPE_CHECKING:
    import boto3.session
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
)
_ON = {"ENABLED", "ENABLING"}
_LOOKED_AT = 100
_PART_KEY = re.compile(r"[A-Za-z0-9_-]{22,64}/[0-9]+")


class ClaimTable:
    """The table named in the settings."""

    def __init__(
        self,
        name: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        layout: Layout = OWN,
    ) -> None:
        """Name the table; nothing is asked of it yet.

        Args:
            name: The table's name.
            region: Its region.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have; None for those of the
                environment.
            layout: How it names its keys and its expiry.

        Raises:
            SettingsInvalid: The settings of AWS, or an argument, cannot be used.
            ClaimStoreUnavailable: Credentials could not be fetched.
        """
        self.name = name
        self.region = region
        self._layout = layout
        with self._errors("could not be asked"):
            self._client = make_client(
                DYNAMODB, session, region=region, endpoint_url=endpoint_url, config=_CONFIG
            )
        self.region = self._client.meta.region_name

    @property
    def title(self) -> str:
        """Names the table for people."""
        return f"table {self.name} in {self.region}"

    def create(self) -> bool:
        """Make the table if it is not there, wait until it is active, and switch its TTL on.

        Safe to repeat: a table that was there stays as it is.

        Returns:
            Whether a table was made.

        Raises:
            ClaimStoreError: DynamoDB refused, or the table did not become active.
        """
        with self._errors("could not be made"):
            created = self._describe() is None and self._create()
            self._client.get_waiter("table_exists").wait(
                TableName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
            )
            if created:
                self._switch_ttl_on()
            return created

    def check(self) -> list[Finding]:
        """Compare the table with what a claim store needs; a right that we lack is a finding.

        Raises:
            ClaimStoreError: DynamoDB refused for another reason, or did not answer.
        """
        with self._errors("could not be checked"):
            try:
                table = self._describe()
            except ClientError as error:
                return [denied(error, "table", "dynamodb", self.title)]
            if table is None:
                return [
                    Finding(
                        "table",
                        ok=False,
                        detail=f"{self.name} does not exist in region {self.region}",
                        remedy=self._layout.remedy,
                    )
                ]
            ttl = look(
                "TTL",
                "dynamodb",
                self.title,
                lambda: self._check_ttl(has_our_key=self._has_our_key(table)),
            )
            return [self._check_state(table), self._check_key(table), ttl]

    def _describe(self) -> TableDescriptionTypeDef | None:
        try:
            return self._client.describe_table(TableName=self.name)["Table"]
        except self._client.exceptions.ResourceNotFoundException:
            return None

    def _create(self) -> bool:
        key = self._key()
        try:
            self._client.create_table(
                TableName=self.name,
                KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in key],
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": kind} for name, kind, _ in key
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        except self._client.exceptions.ResourceInUseException:
            return False  # somebody else is making it at this moment
        return True

    def _has_only_claims(self, *, at_least: int = 0) -> bool:
        """Whether the items at the start of the table are claims; False if that is not known.

        Also False if there are fewer than `at_least`.

        The first page is a fair sample: a scan meets items in the order of their keys' hashes.
        """
        try:
            page = self._client.scan(
                TableName=self.name, Limit=_LOOKED_AT, ConsistentRead=True, Select="ALL_ATTRIBUTES"
            )
        except ClientError:  # the right to make a table is not the right to read it
            return False
        items = page["Items"]
        return len(items) >= at_least and all(map(self._is_of_a_claim, items))

    def _is_of_a_claim(self, item: Mapping[str, Mapping[str, object]]) -> bool:
        key = str(item[self._layout.hash_key]["S"])
        if "N" not in item.get(self._layout.expires_at, {}):
            return False
        if _PART_KEY.fullmatch(key):
            return "B" in item.get("data", {})
        return "@" in key and item.get("state", {}).get("S") in get_args(State)

    def _switch_ttl_on(self) -> None:
        with self._errors("could not get its TTL"):
            try:
                self._client.update_time_to_live(
                    TableName=self.name,
                    TimeToLiveSpecification={
                        "Enabled": True,
                        "AttributeName": self._layout.expires_at,
                    },
                )
            except ClientError:
                if not self._ttl():  # else somebody else switched it on at this moment
                    raise

    def _ttl(self) -> str:
        """The attribute that TTL is on; empty if it is off."""
        ttl = self._client.describe_time_to_live(TableName=self.name)["TimeToLiveDescription"]
        return ttl.get("AttributeName", "") if ttl.get("TimeToLiveStatus") in _ON else ""

    def _check_state(self, table: TableDescriptionTypeDef) -> Finding:
        status = table.get("TableStatus", "UNKNOWN")
        usable = status in {"ACTIVE", "UPDATING"}
        return Finding(
            "table",
            usable,
            f"{self.name} is {status}",
            "" if usable else "wait, or see its status in AWS",
        )

    def _check_key(self, table: TableDescriptionTypeDef) -> Finding:
        right = self._has_our_key(table)
        shown = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in _key_of(table))
        return Finding("key schema", right, shown, "" if right else self._serves_something_else())

    def _check_ttl(self, *, has_our_key: bool) -> Finding:
        attribute = self._ttl()
        if attribute == self._layout.expires_at:
            return Finding("TTL", ok=True, detail=f"on {attribute}")
        if attribute:
            detail = f"on {attribute}, not on {self._layout.expires_at}"
            remedy = self._serves_something_else()
            if has_our_key and self._has_only_claims(at_least=1):
                detail += ": claims that nobody fetches stay for good"
                remedy = (
                    "first run `aws dynamodb update-time-to-live --table-name "
                    f"{self.name} --time-to-live-specification Enabled=false,"
                    f"AttributeName={attribute}`, then `claimcheck store create`. DynamoDB may "
                    "want an hour between the two"
                )
            return Finding("TTL", ok=False, detail=detail, remedy=remedy)
        detail = "off: claims that nobody fetches stay for good"
        if not has_our_key:
            return Finding("TTL", ok=False, detail=detail, remedy=self._serves_something_else())
        command = (
            f"`aws dynamodb update-time-to-live --table-name {self.name} "
            "--time-to-live-specification "
            f"Enabled=true,AttributeName={self._layout.expires_at}`"
        )
        if self._has_only_claims():
            change = Change(
                f"switch TTL on in table {self.name}, on {self._layout.expires_at}",
                self._switch_ttl_on,
            )
            remedy = f"`claimcheck store create` switches it on; so does {command}"
            return Finding("TTL", ok=False, detail=detail, remedy=remedy, change=change)
        remedy = (
            f"{self.name} has something else than claims, or nobody here may look: if it is for "
            f"claims alone, run {command}. Else name another table in CLAIMCHECK_STORE"
        )
        return Finding("TTL", ok=False, detail=detail, remedy=remedy)

    def _key(self) -> list[tuple[str, Literal["S"], Literal["HASH", "RANGE"]]]:
        """Name, type and role of each attribute that the key is to have."""
        layout = self._layout
        key: list[tuple[str, Literal["S"], Literal["HASH", "RANGE"]]] = [
            (layout.hash_key, "S", "HASH")
        ]
        if layout.sort_key is not None:
            key.append((layout.sort_key, "S", "RANGE"))
        return key

    def _has_our_key(self, table: TableDescriptionTypeDef) -> bool:
        return _key_of(table) == self._key()

    def _serves_something_else(self) -> str:
        return (
            f"{self.name} seems to serve something else: leave it as it is, and name another table "
            "in CLAIMCHECK_STORE"
        )

    @contextmanager
    def _errors(self, consequence: str) -> Iterator[None]:
        try:
            yield
        except (ClientError, WaiterError, NoCredentialsError) as error:
            raise ClaimStoreError(f"{self._said(consequence)}: {one_line(error)}.") from error
        except BotoCoreError as error:
            raise ClaimStoreUnavailable(f"{self._said(consequence)}: {one_line(error)}.") from error

    def _said(self, consequence: str) -> str:
        return f"table {self.name}{f' in {self.region}' if self.region else ''} {consequence}"


def _key_of(table: TableDescriptionTypeDef) -> list[tuple[str, str, str]]:
    """Name, type and role of each attribute of the key."""
    types = {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]}
    return [
        (k["AttributeName"], types[k["AttributeName"]], k["KeyType"]) for k in table["KeySchema"]
    ]
