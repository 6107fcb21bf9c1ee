from __future__ import annotations

import pytest

from claimcheck import ClaimCheckSettings, SettingsInvalid
from claimcheck.settings import DEFAULT_STORE

SQS = "https://sqs.us-west-2.amazonaws.com/123456789012/letsgo-main"


def test_defaults() -> None:
    settings = ClaimCheckSettings.from_environment({})

    assert settings == ClaimCheckSettings(
        store=None,
        threshold=250_000,
        inline_limit=None,
        max_size=64 * 1024 * 1024,
        purge="after",
        lease_seconds=120,
    )


def test_every_setting_comes_from_the_environment() -> None:
    settings = ClaimCheckSettings.from_environment(
        {
            "CLAIMCHECK_STORE": "dynamodb://claims",
            "CLAIMCHECK_THRESHOLD": "1000",
            "CLAIMCHECK_INLINE_LIMIT": "262144",
            "CLAIMCHECK_MAX_SIZE": "5000000",
            "CLAIMCHECK_PURGE": "before",
            "CLAIMCHECK_LEASE_SECONDS": "0.5",
            "CLAIMCHECK_SOMETHING_ELSE": "ignored",
        }
    )

    assert settings == ClaimCheckSettings(
        store="dynamodb://claims",
        threshold=1_000,
        inline_limit=262_144,
        max_size=5_000_000,
        purge="before",
        lease_seconds=0.5,
    )


def test_the_environment_is_the_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "77")

    assert ClaimCheckSettings.from_environment().threshold == 77


def test_an_empty_variable_counts_as_unset() -> None:
    empty = dict.fromkeys(["CLAIMCHECK_STORE", "CLAIMCHECK_PURGE", "CLAIMCHECK_MAX_SIZE"], "")

    assert ClaimCheckSettings.from_environment(empty) == ClaimCheckSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLAIMCHECK_THRESHOLD", "0"),
        ("CLAIMCHECK_THRESHOLD", "-1"),
        ("CLAIMCHECK_THRESHOLD", "250KB"),
        ("CLAIMCHECK_INLINE_LIMIT", "0"),
        ("CLAIMCHECK_MAX_SIZE", "1.5"),
        ("CLAIMCHECK_PURGE", "sometimes"),
        ("CLAIMCHECK_LEASE_SECONDS", "0"),
        ("CLAIMCHECK_LEASE_SECONDS", "inf"),
        ("CLAIMCHECK_LEASE_SECONDS", "nan"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"^{name}='{value}': "):
        ClaimCheckSettings.from_environment({name: value})


def test_all_bad_values_are_told_at_once() -> None:
    with pytest.raises(SettingsInvalid, match=r"CLAIMCHECK_THRESHOLD='x'.*CLAIMCHECK_PURGE='y'"):
        ClaimCheckSettings.from_environment({"CLAIMCHECK_THRESHOLD": "x", "CLAIMCHECK_PURGE": "y"})


@pytest.mark.parametrize(
    ("queue", "store"),
    [
        (SQS, DEFAULT_STORE),
        ("http://127.0.0.1:4566/000000000000/letsgo-main", DEFAULT_STORE),
        ("sqlite:///work.db", "sqlite:///work.db"),
        ("sqlite:////var/work.db?visibility_timeout=60", "sqlite:////var/work.db"),
        ("memory://", "memory://"),
    ],
)
def test_a_store_goes_with_the_queue(queue: str, store: str) -> None:
    assert ClaimCheckSettings().store_for(queue) == store


@pytest.mark.parametrize("queue", [SQS, "sqlite:///work.db", "memory://", "http://localhost:3002"])
def test_a_store_that_is_set_wins(queue: str) -> None:
    assert ClaimCheckSettings(store="dynamodb://mine").store_for(queue) == "dynamodb://mine"
