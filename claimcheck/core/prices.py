"""AWS's prices, by region, and what units cost by them.

Each price can be set, in code or in `[tool.claimcheck.audit.prices]`. For a region that is not
known here, give every price.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from pydantic import BaseModel, Field, model_validator

from claimcheck.core.cost import Units
from claimcheck.core.holds import CONTENTS_SECONDS
from claimcheck.stores.s3_contents import CONTENTS_DAYS

_GB = 10**9
_DAY_SECONDS = 24 * 3600
_MONTH_SECONDS = 30 * _DAY_SECONDS
_MILLION = 10**6

REGIONS: Mapping[str, Mapping[str, float]] = {
    "us-east-1": {},
    "us-east-2": {},
    "us-west-2": {},
    "eu-west-1": {"dynamodb_write": 0.705, "dynamodb_read": 0.1415, "dynamodb_gb_month": 0.283},
    "eu-central-1": {
        "dynamodb_write": 0.7625,
        "dynamodb_read": 0.1525,
        "dynamodb_gb_month": 0.306,
        "s3_put": 5.40,
        "s3_get": 0.43,
        "s3_gb_month": 0.0245,
    },
}
"""Where the prices of each region differ from those of the United States, as of `Prices.as_of`."""

DEFAULT_REGION = "us-west-2"

_BY_REGION = {
    "sqs_request",
    "sqs_fifo_request",
    "dynamodb_write",
    "dynamodb_read",
    "dynamodb_gb_month",
    "s3_put",
    "s3_get",
    "s3_gb_month",
    "kms_request",
}
"""The prices to give for a region that is not known here."""


class Prices(BaseModel, frozen=True, extra="forbid"):
    """Prices in US dollars, without free tiers and volume discounts.

    A price that is not given is that of the region.

    Attributes:
        region: The AWS region that has these prices.
        as_of: When they were looked up.
        sources: Where AWS says them.
        sqs_request: Per million requests to a standard queue.
        sqs_fifo_request: Per million requests to a FIFO queue.
        dynamodb_write: Per million write request units, on demand.
        dynamodb_read: Per million read request units, on demand.
        dynamodb_gb_month: Per GB (10^9 bytes) stored for 30 days.
        s3_put: Per million PUT requests, S3 Standard.
        s3_get: Per million GET requests, S3 Standard.
        s3_gb_month: Per GB stored for 30 days, S3 Standard.
        kms_request: Per million requests to KMS.
        transfer_gb: Per GB that travels to or from the services. Nothing within a region, unless
            a NAT gateway or an interface endpoint is in between.
        stored_seconds: How long a payload is stored: from the send to the end of its handler.
    """

    region: str = DEFAULT_REGION
    as_of: date = date(2026, 8, 15)
    sources: tuple[str, ...] = (
        "https://aws.amazon.com/sqs/pricing/",
        "https://aws.amazon.com/dynamodb/pricing/on-demand/",
        "https://aws.amazon.com/s3/pricing/",
        "https://aws.amazon.com/kms/pricing/",
    )
    sqs_request: float = Field(default=0.40, ge=0, allow_inf_nan=False)
    sqs_fifo_request: float = Field(default=0.50, ge=0, allow_inf_nan=False)
    dynamodb_write: float = Field(default=0.625, ge=0, allow_inf_nan=False)
    dynamodb_read: float = Field(default=0.125, ge=0, allow_inf_nan=False)
    dynamodb_gb_month: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    s3_put: float = Field(default=5.00, ge=0, allow_inf_nan=False)
    s3_get: float = Field(default=0.40, ge=0, allow_inf_nan=False)
    s3_gb_month: float = Field(default=0.023, ge=0, allow_inf_nan=False)
    kms_request: float = Field(default=3.00, ge=0, allow_inf_nan=False)
    transfer_gb: float = Field(default=0, ge=0, allow_inf_nan=False)
    stored_seconds: float = Field(default=60, ge=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: object) -> object:
        """Put the region's prices where none is given."""
        if not isinstance(given, Mapping):
            return given
        region = str(given.get("region", DEFAULT_REGION))
        if region in REGIONS:
            return {**REGIONS[region], **given}
        if missing := sorted(_BY_REGION - given.keys()):
            raise ValueError(
                f"the prices of {region!r} are not known here, only those of "
                f"{', '.join(REGIONS)}. Give each of {', '.join(missing)}"
            )
        return given

    @classmethod
    def of(cls, region: str = DEFAULT_REGION) -> Prices:
        """The prices of a region that is known here."""
        return cls.model_validate({"region": region})

    def month_of_storage(self, *, dynamodb_bytes: float = 0, s3_bytes: float = 0) -> float:
        """The price of bytes that are stored for 30 days."""
        stored = self.dynamodb_gb_month * dynamodb_bytes + self.s3_gb_month * s3_bytes
        return stored / _GB

    def dollars(self, units: Units) -> float:
        """The price of units."""
        requests = (
            self.sqs_request * units.sqs_requests
            + self.sqs_fifo_request * units.sqs_fifo_requests
            + self.dynamodb_write * units.write_units
            + self.dynamodb_read * units.read_units
            + self.s3_put * units.s3_puts
            + self.s3_get * units.s3_gets
            + self.kms_request * units.kms_requests
        )
        byte_seconds_in_dynamodb = (
            units.dynamodb_bytes * self.stored_seconds
            + units.dynamodb_expiring_bytes * CONTENTS_SECONDS
        )
        byte_seconds_in_s3 = (
            units.s3_bytes * self.stored_seconds
            + units.s3_expiring_bytes * CONTENTS_DAYS * _DAY_SECONDS
        )
        stored = (
            self.dynamodb_gb_month * byte_seconds_in_dynamodb
            + self.s3_gb_month * byte_seconds_in_s3
        ) / _MONTH_SECONDS
        return requests / _MILLION + (stored + self.transfer_gb * units.moved_bytes) / _GB
