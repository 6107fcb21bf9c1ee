"""`claimcheck store`: makes or checks the store that the settings name.

Only DynamoDB needs it: a SQLite file is made when it is first used.
"""

from __future__ import annotations

from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.letsgo import LetsGoClaimStore
from letsgo_queue.cli.terminal import errors, print_check, print_line
from letsgo_queue.settings import QueueSettings, region_in


def create_store() -> bool:
    """Make the store where it is missing, and check it.

    Returns:
        Whether everything is as it should be.

    Raises:
        SettingsInvalid: A setting cannot be used.
        ClaimStoreError: DynamoDB refused, or did not answer.
    """
    store = _store()
    if not isinstance(store, DynamoDBClaimStore):
        return _nothing_to_do(store)
    table = _table(store)
    if isinstance(store, LetsGoClaimStore):
        print_line(
            f"table {table.name} in {table.region}: LetsGo makes it, and it was only checked"
        )
        return _check(table)
    with errors.status(f"making table {table.name} in {table.region}"):
        made = table.create()
    state = "made" if made else "was there already"
    print_line(f"table {table.name} in {table.region}: {state}")
    return _check(table)


def check_store() -> bool:
    """Compare the store with what claims need, and print what was found.

    Returns:
        Whether everything is as it should be.

    Raises:
        SettingsInvalid: A setting cannot be used.
        ClaimStoreError: DynamoDB refused, or did not answer.
    """
    store = _store()
    if not isinstance(store, DynamoDBClaimStore):
        return _nothing_to_do(store)
    return _check(_table(store))


def _store() -> ClaimStore:
    queue = QueueSettings.from_environment()
    url = queue.url or ""
    return open_store(
        ClaimCheckSettings.from_environment().store_for(url), region=region_in(url) or queue.region
    )


def _table(store: DynamoDBClaimStore) -> ClaimTable:
    return ClaimTable(
        store.table, region=store.region, endpoint_url=store.endpoint_url, layout=store.layout
    )


def _nothing_to_do(store: ClaimStore) -> bool:
    print_line(f"{store.url}: nothing has to be made, it is there when it is first used")
    return True


def _check(table: ClaimTable) -> bool:
    findings = table.check()
    for finding in findings:
        print_check(f"{finding.subject}: {finding.detail}", ok=finding.ok)
        if finding.remedy:
            print_line(f"  {finding.remedy}")
    return all(finding.ok for finding in findings)
