"""`claimcheck store`: makes or checks the stores that the command or the settings name.

Only tables and buckets need it: a SQLite file is made when it is first used.
"""

from __future__ import annotations

from collections.abc import Sequence

from claimcheck.errors import ClaimStoreError
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.findings import Resource
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.resources import resources_of
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue.cli.terminal import agrees, errors, is_interactive, print_check, print_line
from letsgo_queue.settings import QueueSettings, region_in


def create_store(stores: Sequence[str] = (), *, yes: bool) -> bool:
    """Make stores that are missing, make the changes that the user agrees to, and check all.

    Args:
        stores: Their URLs; by default those of the settings.
        yes: Whether to make every change without asking.

    Returns:
        Whether everything is as it should be.

    Raises:
        SettingsInvalid: A setting cannot be used.
        ClaimStoreError: AWS refused, or did not answer.
    """
    fine = [_create(store, yes=yes) for store in _stores(stores)]
    return all(fine)


def check_store(stores: Sequence[str] = ()) -> bool:
    """Compare the stores with what claims need, and print what was found.

    Args:
        stores: Their URLs; by default those of the settings.

    Returns:
        Whether everything is as it should be.

    Raises:
        SettingsInvalid: A setting cannot be used.
        ClaimStoreError: AWS did not answer, or refused for another reason than a right.
    """
    fine = [_check(_resources(store)) for store in _stores(stores)]
    return all(fine)


def _stores(urls: Sequence[str]) -> Sequence[ClaimStore]:
    """Open the stores that messages are written to. Stores only for reading were made long ago."""
    queue = QueueSettings.from_environment()
    url = queue.url or ""
    settings = ClaimCheckSettings.from_environment()
    region = region_in(url) or queue.region
    return [open_store(each, region=region) for each in urls or settings.stores_for(url)]


def _create(store: ClaimStore, *, yes: bool) -> bool:
    resources = _resources(store)
    for resource in resources:
        if isinstance(store, LetsGoClaimStore):
            print_line(f"{resource.title}: LetsGo makes it, and it was only checked")
            continue
        with errors.status(f"making {resource.title}"):
            made = resource.create()
        print_line(f"{resource.title}: {'made' if made else 'was there already'}")
        if not made:
            _change(resource, yes=yes)
    return _check(resources)


def _resources(store: ClaimStore) -> Sequence[Resource]:
    """Return the tables and buckets of a store that have to be made."""
    resources = resources_of(store)
    if not resources:
        embedded = isinstance(store, SqliteClaimStore | MemoryClaimStore)
        print_line(
            f"{store.url}: nothing has to be made, it is there when it is first used"
            if embedded
            else f"{store.url}: its package says how it is made"
        )
    return resources


def _change(resource: Resource, *, yes: bool) -> None:
    for finding in resource.check():
        change = finding.change
        if change is None:
            continue
        if not yes and not is_interactive():
            print_line(f"not changed, as there is no terminal to ask on: {change.what}. See --yes")
        elif yes or agrees(f"{finding.subject}: {finding.detail}. Shall I {change.what}?"):
            try:
                change.make()
            except ClaimStoreError as error:  # the other changes may be allowed
                print_check(str(error), ok=False)
            else:
                print_line(f"changed: {change.what}")


def _check(resources: Sequence[Resource]) -> bool:
    findings = [finding for resource in resources for finding in resource.check()]
    for finding in findings:
        print_check(f"{finding.subject}: {finding.detail}", ok=finding.ok)
        if finding.remedy:
            print_line(f"  {finding.remedy}")
    return all(finding.ok for finding in findings)
