"""Where claims are kept, and how a URL chooses a store.

It also exports the parts of a store of your own: see docs/how-to/own-store.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import (
    ClaimFacts,
    ClaimStore,
    Contents,
    LateReading,
    Lease,
    Reading,
    Record,
    is_store,
    store_label,
)
from claimcheck.stores.registered import GROUP, open_registered, registered_schemes
from claimcheck.stores.swapping import Found, SwappingRecords
from letsgo_queue.deployment import Deployment
from letsgo_queue.forking import forks_wait

if TYPE_CHECKING:
    import boto3.session

__all__ = [
    "ClaimFacts",
    "ClaimStore",
    "Contents",
    "Found",
    "LateReading",
    "Lease",
    "Reading",
    "Record",
    "SwappingRecords",
    "check_store",
    "open_store",
    "store_label",
]

_VARIABLES = ("CLAIMCHECK_STORE", "CLAIMCHECK_READ_STORES", "CLAIMCHECK_STORES")
_OF_AWS = ("region", "endpoint_url")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""


def open_store(
    url: str, *, region: str | None = None, session: boto3.session.Session | None = None
) -> ClaimStore:
    """Open the store that `url` names.

    Nothing is loaded or asked until the store is used. Small messages need no store, and loading
    DynamoDB's takes a good part of a Lambda function's start.

    Args:
        url: `dynamodb://TABLE`, `dynamodb://TABLE?bucket=BUCKET[&prefix=PREFIX]`,
            `s3://BUCKET[/PREFIX]` or `letsgo://[DEPLOYMENT]` (each with `?region=` and
            `&endpoint_url=`), `sqlite:///path`, `memory://`, or a URL whose scheme an installed
            package registers under the entry point group `claimcheck.stores`.
        region: The AWS region, if the URL does not say.
        session: The boto3 session for requests to AWS. By default the store makes one.

    Raises:
        SettingsInvalid: The URL names no store that is known here, or an option that the store does
            not have; or its package cannot be loaded.
    """
    if not isinstance(url, str):
        raise SettingsInvalid(f"a store is named by its URL, not by a {type(url).__name__}.")
    url = url.strip()
    # Python silently removes line breaks and tabs: the URL would name another file.
    if any(each < " " or each == "\x7f" for each in url):
        raise SettingsInvalid(f"{_named(url)}: there is a control character in it. Remove it.")
    try:
        parts = urlsplit(url, allow_fragments=False)  # a `#` is part of a path
    except ValueError as error:
        raise SettingsInvalid(f"{_named(url)}: not a URL ({error}).") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        given = open_registered(parts.scheme, url, named=_named(url)) if parts.scheme else None
        if given is not None:
            return given
        text = f"{_named(url)}: expected {_expected()}."
        if parts.scheme:
            text += f" No installed package registers {parts.scheme}:// ({GROUP})."
        raise SettingsInvalid(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(scheme.options)):
        known = scheme.options
        valid = f"the options are {_listed(known)}" if known else "it has no options"
        raise SettingsInvalid(f"{_named(url)}: unknown option {', '.join(unknown)}; {valid}.")
    path = parts.path.removeprefix("/")
    store = scheme.open(_Given(url, parts.netloc, path, options, region, session))
    if store is None:
        raise SettingsInvalid(f"{_named(url)}: expected {_expected()}.")
    return store


def check_store(store: ClaimStore) -> ClaimStore:
    """Refuse a value that is not a store.

    Raises:
        SettingsInvalid: It is not a store.
    """
    if not is_store(store):
        raise SettingsInvalid(
            f"store is of type {type(store).__name__}: give a store. "
            'open_store("dynamodb://TABLE") makes one of a URL.'
        )
    return store


@dataclass(frozen=True, slots=True)
class _Given:
    """A URL in its parts, and what goes with it."""

    url: str
    name: str
    path: str
    options: Mapping[str, str]
    own_region: str | None
    session: boto3.session.Session | None

    @property
    def region(self) -> str | None:
        return self.options.get("region") or self.own_region

    @property
    def endpoint_url(self) -> str | None:
        return self.options.get("endpoint_url") or None

    def bucket(self, name: str) -> str:
        """Check the name of a bucket.

        Raises:
            SettingsInvalid: S3 has no such names.
        """
        if not _BUCKET.fullmatch(name):
            raise SettingsInvalid(f"{_named(self.url)}: {name!r} is no name of a bucket.")
        return name


def _open_dynamodb(given: _Given) -> ClaimStore | None:
    if not given.name or given.path:
        return None
    if "bucket" not in given.options:
        if "prefix" in given.options:
            text = "a prefix needs a bucket: give ?bucket= too"
            raise SettingsInvalid(f"{_named(given.url)}: {text}.")
        with forks_wait():
            from claimcheck.stores.dynamodb import DynamoDBClaimStore

        return DynamoDBClaimStore(
            given.name,
            region=given.region,
            endpoint_url=given.endpoint_url,
            session=given.session,
        )
    with forks_wait():
        from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore

    return DynamoDBBucketClaimStore(
        given.name,
        given.bucket(given.options["bucket"]),
        prefix=given.options.get("prefix", ""),
        region=given.region,
        endpoint_url=given.endpoint_url,
        session=given.session,
    )


def _open_s3(given: _Given) -> ClaimStore | None:
    if not given.name:
        return None
    with forks_wait():
        from claimcheck.stores.s3 import S3ClaimStore

    return S3ClaimStore(
        given.bucket(given.name),
        prefix=unquote(given.path),
        region=given.region,
        endpoint_url=given.endpoint_url,
        session=given.session,
    )


def _open_letsgo(given: _Given) -> ClaimStore | None:
    if given.path:
        return None
    from claimcheck.stores.letsgo import LetsGoClaimStore

    own = Deployment.from_environment()
    vendor_prefix = given.options.get("vendor_prefix") or own.vendor_prefix
    return LetsGoClaimStore(
        Deployment(given.name or own.name, vendor_prefix),
        region=given.region,
        endpoint_url=given.endpoint_url,
        session=given.session,
    )


def _open_sqlite(given: _Given) -> ClaimStore | None:
    from letsgo_queue.sqlite import path_in

    with forks_wait():
        from claimcheck.stores.sqlite import SqliteClaimStore

    path = path_in(given.url)
    return SqliteClaimStore(path) if path else None


def _open_memory(given: _Given) -> ClaimStore | None:
    if not given.url.startswith("memory://"):
        return None
    with forks_wait():
        from claimcheck.stores.memory import MemoryClaimStore

    return MemoryClaimStore()


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A scheme of ours.

    Attributes:
        form: Its URLs, for errors.
        options: The options that they may have.
        open: Opens a URL; None if the URL names no store.
    """

    form: str
    options: tuple[str, ...]
    open: Callable[[_Given], ClaimStore | None]


_SCHEMES = {
    "dynamodb": _Scheme("dynamodb://TABLE", (*_OF_AWS, "bucket", "prefix"), _open_dynamodb),
    "s3": _Scheme("s3://BUCKET", _OF_AWS, _open_s3),
    "sqlite": _Scheme("sqlite:///path/to/file.db", (), _open_sqlite),
    "memory": _Scheme("memory://", (), _open_memory),
    "letsgo": _Scheme("letsgo://DEPLOYMENT", (*_OF_AWS, "vendor_prefix"), _open_letsgo),
}


def _expected() -> str:
    forms = [scheme.form for scheme in _SCHEMES.values()]
    forms += [f"{name}://" for name in registered_schemes()]
    return _listed(forms, "or")


def _listed(words: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _named(url: str) -> str:
    """How errors name the URL of a store, with the variable that has it."""
    shown = f"claim store {_without_password(url)!r}"
    for variable in _VARIABLES:
        entries = [entry.strip() for entry in os.environ.get(variable, "").split(",")]
        if url and any(entry == url or entry.endswith(f"={url}") for entry in entries):
            return f"{variable}: {shown}"
    return shown


def _without_password(url: str) -> str:
    """A URL without what is before an `@` in its authority."""
    return re.sub(r"(://)[^/?]*@", r"\1", url)
