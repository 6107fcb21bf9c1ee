"""`open_store`: which store a URL names."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest

from claimcheck import SettingsInvalid, open_store
from claimcheck.stores.base import url_of_label
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing.claims import read, write
from tests.support.servers import AwsServer


def test_memory() -> None:
    assert isinstance(open_store("memory://"), MemoryClaimStore)


@pytest.mark.parametrize("name", ["claims#1.db", "claims;1.db"])
def test_a_sqlite_file_is_named_by_all_of_the_path(tmp_path: Path, name: str) -> None:
    with closing(open_store(f"sqlite:///{tmp_path}/{name}")) as store:
        write(store)

    assert [path.name for path in tmp_path.glob("*.db")] == [name]


@pytest.mark.parametrize("slashes", ["sqlite:///", "sqlite:////"])
def test_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slashes: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = "my claims.db" if slashes == "sqlite:///" else f"{tmp_path}/my claims.db"[1:]

    with closing(open_store(slashes + quote(path))) as store:
        claim = write(store)

    with closing(SqliteClaimStore(tmp_path / "my claims.db")) as store:
        assert read(store, claim) == claim.contents


def test_dynamodb(aws: AwsServer, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    query = f"?region={aws.region}"
    if aws.endpoint_url:
        query += f"&endpoint_url={quote(aws.endpoint_url)}"

    with closing(open_store(f"dynamodb://{table}{query}", region="eu-north-1")) as store:
        claim = write(store)
        assert read(store, claim) == claim.contents
        assert store.label == f"dynamodb:{aws.region}:{table}"
    with closing(DynamoDBClaimStore(table, region=aws.region, endpoint_url=aws.endpoint_url)) as it:
        assert read(it, claim) == claim.contents


@pytest.mark.parametrize(
    ("url", "options", "environment", "region"),
    [
        ("dynamodb://claims?region=eu-north-1", {"region": "us-west-2"}, {}, "eu-north-1"),
        ("dynamodb://claims", {"region": "us-west-2"}, {"AWS_REGION": "eu-west-1"}, "us-west-2"),
        ("dynamodb://claims?region=", {"region": "us-west-2"}, {}, "us-west-2"),
        (
            "dynamodb://claims",
            {"session": boto3.session.Session(region_name="eu-north-1")},
            {"AWS_REGION": "eu-west-1"},
            "eu-north-1",
        ),
        ("dynamodb://claims", {}, {"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ("dynamodb://claims", {}, {"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
def test_the_region_of_dynamodb(
    url: str,
    options: dict[str, object],
    environment: dict[str, str],
    region: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with closing(open_store(url, **options)) as store:  # type: ignore[arg-type]  # as a caller's
        assert store.label == f"dynamodb:{region}:claims"


def test_a_region_that_nobody_names_is_letsgos() -> None:
    with closing(open_store("dynamodb://claims")) as store:
        assert store.label == "dynamodb:us-west-2:claims"


@pytest.mark.parametrize(
    "options", ["region=not a region", "region=us-west-2&endpoint_url=localhost"]
)
def test_options_that_cannot_be_used(options: str) -> None:
    store = open_store(f"dynamodb://claims?{options}")

    with pytest.raises(SettingsInvalid, match="no client for dynamodb can be made"):
        write(store)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "claims",
        "redis://localhost",
        "sqlite://",
        "sqlite:///",
        "sqlite://claims.db",
        "dynamodb://",
        "dynamodb:///claims",
        "dynamodb://claims/more",
        "dynamodb://claims#more",
        "sqlite:///claims%00.db",
        "sqlite:///claims%ff.db",
    ],
)
def test_refuses_what_names_no_store(url: str) -> None:
    with pytest.raises(
        SettingsInvalid, match=r"expected dynamodb://TABLE, s3://BUCKET, sqlite:///path"
    ):
        open_store(url)


@pytest.mark.parametrize("url", ["sqlite:///cl\naims.db", "dynamodb://cl\taims", "letsgo://\x7f"])
def test_refuses_control_characters(url: str) -> None:
    """Python would leave some out, and another store would be meant."""
    with pytest.raises(SettingsInvalid, match="there is a control character in it"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (
            "dynamodb://claims?regoin=us-west-2",
            r"unknown option regoin; the options are region, endpoint_url, bucket and prefix\.",
        ),
        ("dynamodb://claims?b=&a=1", r"unknown option a, b; the options are"),
        ("sqlite:///claims.db?timeout=1", r"unknown option timeout; it has no options\."),
        ("memory://?size=1", r"unknown option size; it has no options\."),
    ],
)
def test_names_options_that_are_unknown(url: str, text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        open_store(url)


def test_dynamodb_is_loaded_when_it_is_used() -> None:
    """A Lambda function that only handles small messages never loads it."""
    script = (
        "import sys\n"
        "before = {*sys.modules}\n"  # coverage, where it runs, brings sqlite3
        "from claimcheck import open_store\n"
        "store = open_store('dynamodb://claims', region='eu-west-1')\n"
        "assert store.label == 'dynamodb:eu-west-1:claims'\n"
        "store.close()\n"
        "new = sys.modules.keys() - before\n"
        "assert not {'boto3', 'botocore', 'pynamodb', 'sqlite3'} & new\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("dynamodb://claims?region=eu-west-1", "dynamodb://claims?region=eu-west-1"),
        ("letsgo://staging?region=eu-west-1", "letsgo://staging?region=eu-west-1"),
        ("sqlite:////var/lib/shop/claims.db", "sqlite:////var/lib/shop/claims.db"),
        ("sqlite:////tmp/a%3Fb#c.db", "sqlite:////tmp/a%3Fb#c.db"),
    ],
)
def test_the_name_of_a_store_in_errors_can_be_pasted_into_the_setting(url: str, named: str) -> None:
    with closing(open_store(url)) as store, closing(open_store(named)) as pasted:
        assert url_of_label(store.label) == named
        assert pasted.label == store.label


@pytest.mark.parametrize("label", ["", ":", "dynamodb:", "dynamodb:t", "letsgo:r:other-t", "s3:x"])
def test_the_label_of_no_store_is_named_as_it_is(label: str) -> None:
    assert url_of_label(label) == label


def test_a_label_that_was_cut_off_is_no_name() -> None:
    with closing(SqliteClaimStore(f"/{'d' * 300}/claims.db")) as store:
        assert url_of_label(store.label) == store.label


@pytest.mark.parametrize("wrong", [5, None, b"memory://"])
def test_a_store_is_named_by_its_url(wrong: Any) -> None:
    with pytest.raises(SettingsInvalid, match=f"not by a {type(wrong).__name__}"):
        open_store(wrong)
