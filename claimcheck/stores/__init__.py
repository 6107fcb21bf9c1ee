"""Where claims are kept, and how a URL chooses a store."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import ClaimStore
from letsgo_queue.deployment import Deployment
from letsgo_queue.forking import forks_wait

if TYPE_CHECKING:
    import boto3.session

__all__ = ["open_store"]

_VARIABLE = "CLAIMCHECK_STORE"
_OF_AWS = ("region", "endpoint_url")
_OPTIONS = {
    "dynamodb": (*_OF_AWS, "bucket", "prefix"),
    "s3": _OF_AWS,
    "letsgo": (*_OF_AWS, "vendor_prefix"),
    "sqlite": (),
    "memory": (),
}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""


def open_store(
    url: str, *, region: str | None = None, session: boto3.session.Session | None = None
) -> ClaimStore:
    """Open the store that `url` names.

    Nothing is loaded or asked until the store is used: small messages need none, and DynamoDB's
    takes a Lambda function a good part of its start.

    Args:
        url: `dynamodb://TABLE`, `dynamodb://TABLE?bucket=BUCKET[&prefix=PREFIX]`,
            `s3://BUCKET[/PREFIX]` or `letsgo://[DEPLOYMENT]` (each with `?region=` and
            `&endpoint_url=`), `sqlite:///path`, or `memory://`.
        region: The AWS region, where the URL does not say.
        session: The boto3 session for requests to AWS. By default the store makes one.

    Raises:
        SettingsInvalid: The URL names no store that is known here, or an option that the store does
            not have.
    """
    if not isinstance(url, str):
        raise SettingsInvalid(f"a store is named by its URL, not by a {type(url).__name__}.")
    url = url.strip()
    # Python leaves line breaks and tabs out in silence: another file would be meant.
    if any(each < " " or each == "\x7f" for each in url):
        raise SettingsInvalid(f"{_named(url)}: there is a control character in it. Remove it.")
    try:
        parts = urlsplit(url, allow_fragments=False)  # a `#` is part of a path
    except ValueError as error:
        raise SettingsInvalid(f"{_named(url)}: not a URL ({error}).") from None
    path = parts.path.removeprefix("/")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme in _OPTIONS:
        _check_options(url, options.keys(), _OPTIONS[parts.scheme])
    if parts.scheme == "memory" and url.startswith("memory://"):
        with forks_wait():
            from claimcheck.stores.memory import MemoryClaimStore

        return MemoryClaimStore()
    if parts.scheme == "sqlite":
        from letsgo_queue.sqlite import path_in

        with forks_wait():
            from claimcheck.stores.sqlite import SqliteClaimStore

        if file := path_in(url):
            return SqliteClaimStore(file)
    if parts.scheme == "s3" and parts.netloc:
        with forks_wait():
            from claimcheck.stores.s3 import S3ClaimStore

        return S3ClaimStore(
            _bucket(url, parts.netloc),
            prefix=unquote(path),
            region=options.get("region") or region,
            endpoint_url=options.get("endpoint_url") or None,
            session=session,
        )
    if parts.scheme == "dynamodb" and parts.netloc and not path and "bucket" in options:
        with forks_wait():
            from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore

        return DynamoDBBucketClaimStore(
            parts.netloc,
            _bucket(url, options["bucket"]),
            prefix=options.get("prefix", ""),
            region=options.get("region") or region,
            endpoint_url=options.get("endpoint_url") or None,
            session=session,
        )
    if parts.scheme == "dynamodb" and parts.netloc and not path:
        if "prefix" in options:
            raise SettingsInvalid(f"{_named(url)}: a prefix needs a bucket: give ?bucket= too.")
        with forks_wait():
            from claimcheck.stores.dynamodb import DynamoDBClaimStore

        return DynamoDBClaimStore(
            parts.netloc,
            region=options.get("region") or region,
            endpoint_url=options.get("endpoint_url") or None,
            session=session,
        )
    if parts.scheme == "letsgo" and not path:
        from claimcheck.stores.letsgo import LetsGoClaimStore

        own = Deployment.from_environment()
        return LetsGoClaimStore(
            Deployment(parts.netloc or own.name, options.get("vendor_prefix") or own.vendor_prefix),
            region=options.get("region") or region,
            endpoint_url=options.get("endpoint_url") or None,
            session=session,
        )
    raise SettingsInvalid(
        f"{_named(url)}: expected dynamodb://TABLE, s3://BUCKET, sqlite:///path/to/file.db, "
        "memory:// or letsgo://DEPLOYMENT."
    )


def _check_options(url: str, given: Iterable[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        valid = f"the options are {' and '.join(known)}" if known else "it has no options"
        raise SettingsInvalid(f"{_named(url)}: unknown option {', '.join(unknown)}; {valid}.")


def _bucket(url: str, name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise SettingsInvalid(f"{_named(url)}: {name!r} is no name of a bucket.")
    return name


def _named(url: str) -> str:
    """A store's URL that cannot be used, for errors, with the variable that has it."""
    is_set = os.environ.get(_VARIABLE, "").strip() == url
    return f"{_VARIABLE}: claim store {url!r}" if is_set else f"claim store {url!r}"
