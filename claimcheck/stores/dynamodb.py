"""Claims in a DynamoDB table: contents and records side by side, under keys of their own.

The table is made by `claimcheck store create`, never here.
"""

from __future__ import annotations

from claimcheck.stores.dynamodb_contents import DynamoDBContents
from claimcheck.stores.dynamodb_records import DynamoDBRecords


class DynamoDBClaimStore(DynamoDBContents, DynamoDBRecords):
    """A claim store in a DynamoDB table; see `DynamoDBOpening` for how to name the table."""
