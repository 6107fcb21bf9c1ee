"""`Lifecycle`: what the rules of a bucket do to claims, and what they lack."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from claimcheck.stores.s3_lifecycle import Lifecycle

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

ALL: LifecycleRuleOutputTypeDef = {
    "ID": "all",
    "Status": "Enabled",
    "Filter": {},
    "Expiration": {"Days": 60},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}
DROP: LifecycleRuleOutputTypeDef = {
    "ID": "drop",
    "Status": "Enabled",
    "Filter": {"Prefix": "claims/"},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
}

GOOD = "stay for good"


def lifecycle(*rules: LifecycleRuleOutputTypeDef, versioned: bool = False) -> Lifecycle:
    return Lifecycle(rules, prefix="claims/", versioned=versioned)


def test_without_rules_everything_stays() -> None:
    assert list(lifecycle().lacks()) == [
        f"claims that nobody fetches {GOOD}",
        f"pieces of unfinished uploads {GOOD}",
    ]
    assert list(lifecycle(versioned=True).lacks())[2:] == [
        f"versions of claims that were removed {GOOD}",
        f"delete markers {GOOD}",
    ]


def test_rules_for_more_than_claims_will_do() -> None:
    assert list(lifecycle(ALL).lacks()) == []
    assert lifecycle(ALL).days == 60
    assert list(lifecycle(ALL, DROP, versioned=True).lacks()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"Status": "Disabled"},
        {"Filter": {"Prefix": "claims/records/"}},
        {"Filter": {"Prefix": "other/"}},
        {"Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        {"Filter": {"And": {"Prefix": "claims/", "Tags": [{"Key": "a", "Value": "b"}]}}},
        {"Filter": {"ObjectSizeGreaterThan": 1}},
    ],
)
def test_rules_for_fewer_will_not_do(change: LifecycleRuleOutputTypeDef) -> None:
    assert len(list(lifecycle({**ALL, **change}).lacks())) == 2


def test_a_rule_that_keeps_some_versions_keeps_claims() -> None:
    some: LifecycleRuleOutputTypeDef = {
        **DROP,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 1},
    }
    assert not lifecycle(ALL, some, versioned=True).drops_versions


@pytest.mark.parametrize(
    ("change", "harm"),
    [
        ({"Expiration": {"Days": 42}}, "rule 'all' removes them after 42 days"),
        ({"Expiration": {"Days": 1}, "Filter": {"Prefix": "cl"}}, "removes them after 1 day"),
        ({"Expiration": {"Days": 9}, "Filter": {"Prefix": "claims/records/"}}, "after 9 days"),
        ({"Expiration": {"Days": 9}, "Filter": {"ObjectSizeLessThan": 9}}, "after 9 days"),
        ({"Expiration": {"Date": datetime(2027, 1, 31, tzinfo=UTC)}}, "on 2027-01-31"),
        ({"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}, "moves them to GLACIER"),
        ({"Transitions": [{"StorageClass": "DEEP_ARCHIVE", "Days": 0}]}, "to DEEP_ARCHIVE"),
    ],
)
def test_a_rule_that_harms(change: LifecycleRuleOutputTypeDef, harm: str) -> None:
    (found,) = lifecycle({**ALL, **change}).harms()
    assert harm in found


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Expiration": {"Days": 43}},
        {"Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Expiration": {"Days": 1}, "Status": "Disabled"},
        {"Expiration": {"Days": 1}, "Filter": {"Prefix": "other/"}},
        {"Expiration": {"Days": 1}, "Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        {"Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}]},
        {"Transitions": [{"Days": 50, "StorageClass": "GLACIER"}]},
    ],
)
def test_a_rule_that_does_no_harm(change: LifecycleRuleOutputTypeDef) -> None:
    assert list(lifecycle({**ALL, **change}).harms()) == []


@pytest.mark.parametrize("versioned", [False, True])
def test_what_is_added_is_all_that_lacks(*, versioned: bool) -> None:
    added = lifecycle(versioned=versioned).completed()

    after = lifecycle(*added, versioned=versioned)  # type: ignore[arg-type]  # as S3 gives it back
    assert (list(after.lacks()), list(after.harms())) == ([], [])
    assert after.days == 43
    assert after.completed() == added


def test_other_rules_stay_and_ours_are_replaced() -> None:
    old: LifecycleRuleOutputTypeDef = {"Status": "Enabled", "Prefix": "logs/", "ID": "logs"}
    ours: LifecycleRuleOutputTypeDef = {**ALL, "ID": "claimcheck claims/"}
    other: LifecycleRuleOutputTypeDef = {**ALL, "ID": "claimcheck other/"}

    rules = lifecycle(old, ours, other).completed()

    assert rules[:2] == [{"Status": "Enabled", "Filter": {"Prefix": "logs/"}, "ID": "logs"}, other]
    assert [rule.get("ID") for rule in rules[2:]] == ["claimcheck claims/"]


def test_without_a_prefix_the_rule_is_for_the_whole_bucket() -> None:
    (rule,) = Lifecycle([], prefix="", versioned=False).completed()
    assert (rule.get("ID"), rule.get("Filter")) == ("claimcheck", {"Prefix": ""})
