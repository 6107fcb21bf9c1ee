"""How a DynamoDB table names its keys and its expiry: a table of our own, or LetsGo's.

LetsGo's table has a partition key `category`, a sort key `key`, and its TTL on `ttl`. LetsGo lists
the items of one category at a time, so items in categories that only we use do not show there. Each
item has a category of its own: a claim spreads over partitions as it does in our own table.

https://github.com/47chapters/letsgo/blob/main/docs/backgound/data-model.md describes that table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from letsgo_queue.forking import cached_property

_PLACEHOLDER = re.compile(r"#\w+")


@dataclass(frozen=True)
class Layout:
    """The names in a table.

    Attributes:
        hash_key: The attribute that is the partition key.
        expires_at: The attribute that TTL is on.
        sort_key: The attribute that is the sort key; None if the table has none.
        prefix: The beginning of every partition key of ours.
        remedy: What to do if the table does not exist.
    """

    hash_key: str
    expires_at: str
    sort_key: str | None
    prefix: str
    remedy: str

    def key(self, name: str) -> Mapping[str, Mapping[str, str]]:
        """The key of the item with this name, as requests have it."""
        key = {self.hash_key: {"S": self.prefix + name}}
        # It means nothing; DynamoDB refuses an empty one.
        return key if self.sort_key is None else key | {self.sort_key: {"S": "/"}}

    def names_in(self, expressions: str) -> Mapping[str, str]:
        """The attributes that `#id`, `#expires_at` and `#state` stand for, as far as they occur.

        Some are reserved words of DynamoDB, which refuses a placeholder that nothing uses.
        """
        return {each: self._names[each] for each in _PLACEHOLDER.findall(expressions)}

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {"#id": self.hash_key, "#expires_at": self.expires_at, "#state": "state"}


OWN = Layout(
    hash_key="id",
    expires_at="expires_at",
    sort_key=None,
    prefix="",
    remedy="Make it with `claimcheck store create`, or set CLAIMCHECK_STORE.",
)

LETSGO = Layout(
    hash_key="category",
    expires_at="ttl",
    sort_key="key",
    prefix="claimcheck/",
    remedy=(
        "LetsGo makes it when it is deployed. Check LETSGO_DEPLOYMENT and AWS_REGION, or set "
        "CLAIMCHECK_STORE."
    ),
)
