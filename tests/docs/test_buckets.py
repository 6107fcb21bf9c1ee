"""docs/how-to/buckets.md and permissions.md: what a reader types does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from claimcheck.rights import RIGHTS, Role
from claimcheck.stores.s3_lifecycle import Lifecycle
from tests.docs.support import ROOT, Reader, commands
from tests.support.servers import AwsServer

BUCKETS, PERMISSIONS = "docs/how-to/buckets.md", "docs/how-to/permissions.md"


def setting(command: str) -> str:
    return command.partition("=")[2].strip("'")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_make_a_bucket(ministack: AwsServer, tmp_path: Path) -> None:
    export, create = commands(BUCKETS)
    reader = Reader(tmp_path, CLAIMCHECK_STORE=setting(export))
    ministack._tables.append("letsgo-claims")
    ministack._buckets.append("my-claims")

    made = reader.type(create)

    assert "bucket my-claims in us-west-2: made\n" in made
    client = ministack.s3()
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket="my-claims")["Rules"]
    client.close()
    page = text_of(BUCKETS)
    assert f"(`{rule['ID']}`)" in page
    assert f"Id: {rule['ID']}\n" in page
    assert f"Prefix: {rule['Filter']['Prefix']}\n" in page
    assert f"ExpirationInDays: {rule['Expiration']['Days']}\n" in page
    assert list(Lifecycle([rule], prefix="orders/", versioned=False).lacks()) == []


def test_print_a_policy(tmp_path: Path) -> None:
    queue, store, command = commands(PERMISSIONS)
    reader = Reader(tmp_path, LETSGO_QUEUE_URL=setting(queue), CLAIMCHECK_STORE=setting(store))

    (shown,) = re.findall(r"```json\n(.*?)```", text_of(PERMISSIONS), re.DOTALL)

    assert reader.type(command) == shown


def test_each_right_of_sender_and_worker_is_explained() -> None:
    explained = set(re.findall(r"[A-Z]\w+", text_of(PERMISSIONS)))
    rights = {
        action.partition(":")[2]
        for role in (Role.SENDER, Role.WORKER)
        for actions in RIGHTS[role].values()
        for action in actions
    }
    assert rights - explained == set()
