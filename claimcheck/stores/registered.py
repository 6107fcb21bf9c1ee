"""Stores of other packages, each with a URL scheme of its own.

A package registers a scheme as an entry point, whose value is called with the URL:

    [project.entry-points."claimcheck.stores"]
    redis = "redis_claims:open_redis_store"

Nothing of a package is loaded before a URL of its scheme is opened.
"""

from __future__ import annotations

from typing import cast

from claimcheck.errors import SettingsInvalid
from claimcheck.stores.base import ClaimStore, is_store
from letsgo_queue.errors import LetsGoError
from letsgo_queue.forking import forks_wait

GROUP = "claimcheck.stores"


def open_registered(scheme: str, url: str, *, named: str) -> ClaimStore | None:
    """Open a store of another package.

    Args:
        scheme: The scheme of the URL.
        url: The URL, as the package gets it.
        named: The store, for errors.

    Returns:
        The store; None if no package has registered the scheme.

    Raises:
        SettingsInvalid: Several packages register it, or the package cannot be loaded, or opens no
            store.
    """
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=scheme))
    if not found:
        return None
    packages = sorted({entry.dist.name if entry.dist else entry.value for entry in found})
    if len(packages) > 1:
        raise SettingsInvalid(
            f"{named}: {' and '.join(packages)} each register the scheme {scheme}. Uninstall all "
            "but one."
        )
    try:
        with forks_wait():
            opener = found[0].load()
    except Exception as error:
        # Whatever the module of another package raises while it is loaded.
        raise SettingsInvalid(
            f"{named}: {packages[0]} registers the scheme {scheme}, and cannot be loaded "
            f"({type(error).__name__}: {error})."
        ) from error
    try:
        store: object = opener(url)
    except LetsGoError:
        raise
    except Exception as error:
        # The same of its function, whose text may have the URL in it, and with that a password.
        raise SettingsInvalid(
            f"{named}: {packages[0]} cannot open it ({type(error).__name__})."
        ) from error
    if not is_store(store):
        raise SettingsInvalid(
            f"{named}: {packages[0]} opened something of type {type(store).__name__}, which is no "
            "store."
        )
    return cast("ClaimStore", store)


def registered_schemes() -> list[str]:
    """The schemes of other packages, for errors."""
    from importlib.metadata import entry_points

    return sorted({entry.name for entry in entry_points(group=GROUP)})
