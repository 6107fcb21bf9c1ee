"""Where claims are kept, and how a URL chooses a store."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import ClaimStore

__all__ = ["open_store"]

_DYNAMODB_OPTIONS = {"region", "endpoint_url"}


def open_store(url: str, *, region: str | None = None) -> ClaimStore:
    """Open the store that `url` names.

    The module of a store is loaded only here, when it is used: that of DynamoDB loads pynamodb.

    Args:
        url: `dynamodb://TABLE` (with `?region=` and `&endpoint_url=`), `sqlite:///path`, or
            `memory://`.
        region: The AWS region, where the URL does not say.

    Raises:
        SettingsInvalid: The URL names no store that is known here.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "memory":
        from claimcheck.stores.memory import MemoryClaimStore

        return MemoryClaimStore()
    if parts.scheme == "sqlite" and path and not parts.netloc:
        from claimcheck.stores.sqlite import SqliteClaimStore

        return SqliteClaimStore(path)
    if (
        parts.scheme == "dynamodb"
        and parts.netloc
        and not path
        and options.keys() <= _DYNAMODB_OPTIONS
    ):
        from claimcheck.stores.dynamodb import DynamoDBClaimStore

        return DynamoDBClaimStore(
            parts.netloc,
            region=options.get("region", region),
            endpoint_url=options.get("endpoint_url"),
        )
    raise SettingsInvalid(
        f"claim store {url!r}: expected dynamodb://TABLE, sqlite:///path/to/file.db or memory://."
    )
