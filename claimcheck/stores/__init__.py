"""Where claims are kept, and how a URL chooses a store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl, unquote, urlsplit

from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import ClaimStore

__all__ = ["open_store", "store_opener"]

_DYNAMODB_OPTIONS = {"region", "endpoint_url"}


def open_store(url: str, *, region: str | None = None) -> ClaimStore:
    """Open the store that `url` names.

    Args:
        url: `dynamodb://TABLE` (with `?region=` and `&endpoint_url=`), `sqlite:///path`, or
            `memory://`.
        region: The AWS region, where the URL does not say.

    Raises:
        SettingsInvalid: The URL names no store that is known here.
    """
    return store_opener(url, region=region)()


def store_opener(url: str, *, region: str | None = None) -> Callable[[], ClaimStore]:
    """Check a store's URL now, and open the store later; see `open_store`.

    The module of a store is loaded only then: that of DynamoDB loads pynamodb.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    options = dict(parse_qsl(parts.query))
    if parts.scheme == "memory":
        return _open_memory
    if parts.scheme == "sqlite" and path and not parts.netloc:
        return partial(_open_sqlite, path)
    if (
        parts.scheme == "dynamodb"
        and parts.netloc
        and not path
        and options.keys() <= _DYNAMODB_OPTIONS
    ):
        return partial(
            _open_dynamodb,
            parts.netloc,
            region=options.get("region", region),
            endpoint_url=options.get("endpoint_url"),
        )
    raise SettingsInvalid(
        f"claim store {url!r}: expected dynamodb://TABLE, sqlite:///path/to/file.db or memory://."
    )


def _open_memory() -> ClaimStore:
    from claimcheck.stores.memory import MemoryClaimStore

    return MemoryClaimStore()


def _open_sqlite(path: str) -> ClaimStore:
    from claimcheck.stores.sqlite import SqliteClaimStore

    return SqliteClaimStore(path)


def _open_dynamodb(table: str, *, region: str | None, endpoint_url: str | None) -> ClaimStore:
    from claimcheck.stores.dynamodb import DynamoDBClaimStore

    return DynamoDBClaimStore(table, region=region, endpoint_url=endpoint_url)
