"""What the doctor finds of a Lambda function behind a queue: one thing is wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.claimcheck.doctor.shop import TIMEOUT, Found, Shop, examine

Break: TypeAlias = Callable[[Shop], object]

LARGEST = 10_000_000
"""Ten of them, three times, fit 512 MB."""


def examine_function(shop: Shop, *, largest: int = LARGEST) -> dict[str, Found]:
    return dict(examine("--lambda", shop.name, "--largest", str(largest)))


def levels(wrong: dict[str, Found]) -> dict[str, str]:
    return {name: finding["level"] for name, finding in wrong.items()}


def test_a_right_function_passes(shop_on_lambda: Shop) -> None:
    assert examine_function(shop_on_lambda) == {}


def update_mapping(shop: Shop, **options: object) -> None:
    shop.call("lambda", "update_event_source_mapping", UUID=shop.mapping, **options)


def lack_a_right(shop: Shop) -> None:
    statement = {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:GetItem"], "Resource": "*"}
    shop.give_rights(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


FUNCTIONS: dict[str, tuple[Break, str, str]] = {
    "no event source mapping": (
        lambda shop: shop.call("lambda", "delete_event_source_mapping", UUID=shop.mapping),
        "lambda.mapping",
        "fail",
    ),
    "disabled": (lambda shop: update_mapping(shop, Enabled=False), "lambda.mapping", "fail"),
    "failures are deleted": (
        lambda shop: update_mapping(shop, FunctionResponseTypes=[]),
        "lambda.failures",
        "fail",
    ),
    "visible while it runs": (
        lambda shop: shop.set_queue(VisibilityTimeout=str(TIMEOUT - 1)),
        "lambda.visibility",
        "fail",
    ),
    "visible too soon": (
        lambda shop: shop.set_queue(VisibilityTimeout=str(6 * TIMEOUT - 1)),
        "lambda.visibility",
        "warn",
    ),
    "four receives": (
        lambda shop: shop.set_queue(RedrivePolicy=shop.redrive_after(4)),
        "queue.redrive",
        "warn",
    ),
    "little memory": (lambda shop: shop.set_function(MemorySize=128), "lambda.memory", "warn"),
    "never runs": (
        lambda shop: shop.call(
            "lambda",
            "put_function_concurrency",
            FunctionName=shop.name,
            ReservedConcurrentExecutions=0,
        ),
        "lambda.concurrency",
        "fail",
    ),
    "another function takes messages": (
        lambda shop: shop.make_function(f"{shop.name}-2"),
        "lambda.others",
        "warn",
    ),
    "its role lacks rights": (lack_a_right, "rights.worker", "fail"),
}


@pytest.mark.parametrize(("break_it", "name", "level"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_it_is_found_and_the_command_mends_it(
    break_it: Break, name: str, level: str, shop_on_lambda: Shop
) -> None:
    shop = shop_on_lambda
    break_it(shop)

    wrong = examine_function(shop)
    assert levels(wrong) == {name: level}

    shop.mend(wrong[name]["command"])
    assert examine_function(shop) == {}


def test_rights_that_are_lacking_are_named(shop_on_lambda: Shop) -> None:
    lack_a_right(shop_on_lambda)

    found = examine_function(shop_on_lambda)["rights.worker"]

    shop_on_lambda.mend(found["command"])
    lacking = found["detail"]
    assert "dynamodb:UpdateItem on arn:aws:dynamodb:" in lacking
    assert "dynamodb:GetItem" not in lacking
    assert "sqs:" not in lacking


@pytest.mark.parametrize(
    ("here", "there", "name"),
    [
        ({}, {"CLAIMCHECK_STORE": "dynamodb://other"}, "lambda.store"),
        ({}, {"CLAIMCHECK_SIGNING_KEY": "a" * 40}, "lambda.keys"),
        (
            {"CLAIMCHECK_SIGNING_KEY": "b" * 40},
            {"CLAIMCHECK_SIGNING_KEY": "a" * 40},
            "lambda.keys",
        ),
        ({"CLAIMCHECK_ENCRYPTION": "aes256:" + "A" * 43 + "="}, {}, "lambda.keys"),
    ],
)
def test_its_settings_do_not_go_with_those_here(
    here: dict[str, str], there: dict[str, str], name: str, shop_on_lambda: Shop
) -> None:
    shop = shop_on_lambda
    shop.set_settings(**there)
    for variable, value in here.items():
        shop.monkeypatch.setenv(variable, value)

    wrong = examine_function(shop)

    assert levels(wrong) == {name: "fail"}
    assert "aaaa" not in str(wrong)
    shop.set_settings(**here)
    assert examine_function(shop) == {}


def test_one_message_of_the_most_has_to_fit(shop_on_lambda: Shop) -> None:
    shop_on_lambda.set_function(MemorySize=128)

    wrong = examine("--lambda", shop_on_lambda.name)

    assert "128 MB for 1 message of up to 67,108,864 bytes" in wrong["lambda.memory"]["detail"]
    shop_on_lambda.mend(wrong["lambda.memory"]["command"])
    assert examine("--lambda", shop_on_lambda.name) == {}


def test_there_is_no_such_function(shop: Shop) -> None:
    wrong = examine("--lambda", "nobodys")

    assert levels(dict(wrong)) == {"lambda": "fail"}
