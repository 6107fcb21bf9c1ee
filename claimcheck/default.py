"""The claim check that the settings describe, for whichever queue a message is on."""

from __future__ import annotations

import functools
import threading
from typing import cast

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.local_claims import make_local_folder
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import store_opener
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.lazy import LazyClaimStore
from letsgo_queue.settings import QueueSettings, is_local_http, region_in

_opening = threading.Lock()


def claim_check_for(queue_url: str, settings: ClaimCheckSettings | None = None) -> ClaimCheck:
    """A claim check for a queue.

    Args:
        queue_url: The queue; where its claims are kept, and in which region, may follow from it.
        settings: By default those of the environment.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    settings = settings or ClaimCheckSettings.from_environment()
    region = region_in(queue_url) or QueueSettings.from_environment().region
    if settings.store is None and is_local_http(queue_url):
        make_local_folder()
    return ClaimCheck(
        _shared_store(settings.store_for(queue_url), region),
        **settings.model_dump(exclude={"store"}),
    )


def _shared_store(url: str, region: str) -> ClaimStore:
    """One store for each URL in a process: the two ends of a memory queue meet in it."""
    with _opening:  # a cache alone may make two for two threads
        return _lazy_store(url, region)


@functools.cache
def _lazy_store(url: str, region: str) -> ClaimStore:
    return cast("ClaimStore", LazyClaimStore(store_opener(url, region=region)))
