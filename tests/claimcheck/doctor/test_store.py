"""What the doctor finds of the stores of claims and of keys: one thing is wrong at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from claimcheck import open_store
from claimcheck.testing.claims import write
from tests.claimcheck.doctor.shop import Found, Shop, examine

Break: TypeAlias = Callable[[Shop], object]


def levels(wrong: Mapping[str, Found]) -> dict[str, str]:
    return {name: finding["level"] for name, finding in wrong.items()}


def switch_ttl_off(shop: Shop) -> None:
    shop.call(
        "dynamodb",
        "update_time_to_live",
        TableName=shop.name,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )


def use_a_bucket(shop: Shop) -> str:
    """Have contents in a bucket that is not there yet."""
    bucket = shop.server.make_bucket_name()
    shop.monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{shop.name}?bucket={bucket}")
    return bucket


def make_a_bucket(shop: Shop) -> str:
    bucket = use_a_bucket(shop)
    shop.mend("claimcheck store create")
    return bucket


def let_everybody_in(shop: Shop) -> None:
    shop.call("s3", "delete_public_access_block", Bucket=make_a_bucket(shop))


def keep_for_good(shop: Shop) -> None:
    shop.call("s3", "delete_bucket_lifecycle", Bucket=make_a_bucket(shop))


STORES: dict[str, tuple[Break, str, str]] = {
    "no table": (
        lambda shop: shop.call("dynamodb", "delete_table", TableName=shop.name),
        "store.table",
        "fail",
    ),
    "claims stay for good": (switch_ttl_off, "store.ttl", "fail"),
    "no bucket": (use_a_bucket, "store.bucket", "fail"),
    "a public bucket": (let_everybody_in, "store.public-access", "fail"),
    "contents stay for good": (keep_for_good, "store.lifecycle", "fail"),
}


@pytest.mark.parametrize(("break_it", "name", "level"), STORES.values(), ids=STORES)
def test_it_is_found_and_the_command_mends_it(
    break_it: Break, name: str, level: str, shop: Shop
) -> None:
    break_it(shop)

    wrong = examine()
    assert levels(wrong) == {name: level}

    shop.mend(wrong[name]["command"])
    assert examine() == {}


def test_a_ttl_on_another_attribute_is_mended_in_two_steps(shop: Shop) -> None:
    shop.monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{shop.name}")
    with closing(open_store(f"dynamodb://{shop.name}", region=shop.server.region)) as store:
        claim = write(store, 10)
        switch_ttl_off(shop)
        other = {"Enabled": True, "AttributeName": "ttl"}
        shop.call(
            "dynamodb",
            "update_time_to_live",
            TableName=shop.name,
            TimeToLiveSpecification=other,
        )
        try:
            found = examine()["store.ttl"]
        finally:
            off = {**other, "Enabled": False}
            shop.call(
                "dynamodb",
                "update_time_to_live",
                TableName=shop.name,
                TimeToLiveSpecification=off,
            )
            shop.mend("claimcheck store create --yes")
            store.remove(claim.id, 1)

    assert found["command"] == ""
    assert "first run `aws dynamodb update-time-to-live" in found["advice"]
    assert examine() == {}


def test_a_table_that_cannot_be_asked_hides_no_bucket(shop: Shop) -> None:
    bucket = make_a_bucket(shop)
    separate = f"dynamodb://{shop.name}?bucket={bucket}"
    shop.call("s3", "delete_public_access_block", Bucket=bucket)
    with shop.monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")  # where nobody listens
        wrong = examine("--store", separate)

    assert levels(wrong) == {"store": "fail", "store.public-access": "fail"}


def test_claims_in_each_process_alone(shop: Shop) -> None:
    shop.monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")

    wrong = examine()

    assert levels(wrong) == {"store": "fail"}
    assert "no other opens what it stores" in wrong["store"]["detail"]


def test_claims_on_one_machine_alone(shop: Shop, tmp_path: Path) -> None:
    wrong = examine("--store", f"sqlite:///{tmp_path}/claims.db")

    assert levels(wrong) == {"store": "warn"}
    assert "a file of this machine" in wrong["store"]["detail"]


def test_a_rule_removes_claims_too_soon(shop: Shop) -> None:
    rule = {"ID": "tidy", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 7}}
    shop.call(
        "s3",
        "put_bucket_lifecycle_configuration",
        Bucket=make_a_bucket(shop),
        LifecycleConfiguration={"Rules": [rule]},
    )

    wrong = examine()

    assert levels(wrong) == {"store.lifecycle": "fail"}
    assert "rule 'tidy' removes them after 7 days" in wrong["store.lifecycle"]["detail"]


def test_a_table_of_something_else(shop: Shop) -> None:
    name = shop.server.make_table_name()
    shop.call(
        "dynamodb",
        "create_table",
        TableName=name,
        KeySchema=[{"AttributeName": "user", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "user", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    wrong = examine("--store", f"dynamodb://{name}")

    assert levels(wrong) == {"store.key-schema": "fail", "store.ttl": "fail"}
    assert [finding["command"] for finding in wrong.values()] == ["", ""]


def test_a_table_in_another_region(shop: Shop) -> None:
    wrong = examine("--store", f"dynamodb://{shop.name}?region=eu-west-1")

    assert wrong["store.region"]["level"] == "warn"
    assert f"eu-west-1, and the queue in {shop.server.region}" in wrong["store.region"]["detail"]


def test_a_key_that_is_disabled(shop: Shop) -> None:
    key = shop.server.make_kms_key()
    shop.monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{key}")
    assert examine() == {}
    shop.call("kms", "disable_key", KeyId=key)

    wrong = examine()

    assert levels(wrong) == {"encryption": "fail"}
    assert "DisabledException" in wrong["encryption"]["detail"]


@pytest.mark.parametrize("setting", ["none,{}", "{},none"])
def test_messages_need_not_be_encrypted(setting: str, shop: Shop) -> None:
    key = "aes256:" + "A" * 43 + "="
    shop.monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", setting.format(key))

    wrong = examine()

    assert levels(wrong) == {"encryption": "warn"}
    assert "AAAA" not in str(wrong)
