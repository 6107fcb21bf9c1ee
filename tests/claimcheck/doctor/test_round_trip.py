"""Messages that the doctor seals, opens and completes, and that it may send through a queue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from claimcheck.doctor import round_trip
from tests.claimcheck.doctor.shop import Shop, claimcheck, examine
from tests.claimcheck.doctor.test_store import levels

ROUTES = ("inline", "compressed", "stored")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniStack's queues are there at once."""
    monkeypatch.setattr(round_trip, "CREATED_SECONDS", 0)


def deny(patch: pytest.MonkeyPatch, operation: str, *, code: str = "AccessDeniedException") -> None:
    """Have AWS refuse a call."""
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # which no stub has

    def denied(client: Any, called: str, params: dict[str, Any]) -> Any:
        if called == operation:
            raise ClientError({"Error": {"Code": code}}, called)
        return call(client, called, params)

    patch.setattr(BaseClient, "_make_api_call", denied)


def queues(shop: Shop) -> list[str]:
    found = shop.call("sqs", "list_queues", QueueNamePrefix=shop.name)
    return sorted(each.rpartition("/")[2] for each in found["QueueUrls"])


def items(shop: Shop) -> list[str]:
    """The states of the table's records; an item that is none has no state."""
    found = shop.call("dynamodb", "scan", TableName=shop.name)["Items"]
    return [item.get("state", {}).get("S", "contents") for item in found]


def test_it_leaves_receipts_and_the_queue_alone(shop: Shop) -> None:
    before = items(shop)

    result = claimcheck("doctor", "--round-trip")

    assert result.exit_code == 0
    for route in ROUTES:
        assert f"✓ round-trip.{route}: " in result.stdout
        assert f"bytes were sealed ({route}) and opened" in result.stdout
    assert items(shop) == [*before, "done"]
    counts = shop.call("sqs", "get_queue_attributes", QueueUrl=shop.url, AttributeNames=["All"])[
        "Attributes"
    ]
    assert {value for name, value in counts.items() if name.startswith("Approx")} == {"0"}


def test_what_the_store_refuses_is_told(shop: Shop) -> None:
    shop.monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{shop.name}-elsewhere")

    wrong = examine("--round-trip")

    assert levels(wrong) == {"store.table": "fail", "round-trip.stored": "fail"}


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "GetItem", "DeleteItem"])
def test_every_right_of_a_worker_is_tried(operation: str, shop: Shop) -> None:
    with shop.monkeypatch.context() as patch:
        deny(patch, operation)
        wrong = examine("--round-trip")

    assert levels(wrong) == {"round-trip.stored": "fail"}


@pytest.mark.parametrize("fifo", [False, True])
def test_through_a_queue_that_is_made_like_the_queue_and_deleted_again(
    fifo: bool, shop: Shop
) -> None:
    url = shop.url
    if fifo:
        options = {"FifoQueue": "true", "MaximumMessageSize": "1048576"}
        url = shop.call("sqs", "create_queue", QueueName=f"{shop.name}.fifo", Attributes=options)[
            "QueueUrl"
        ]
    before = queues(shop)

    result = claimcheck("doctor", "--queue", url, "--temporary-queue", "--json")

    found = {each["name"]: each for each in json.loads(result.stdout)["findings"]}
    for route in ROUTES:
        assert (
            f"({route}), sent, received, opened and deleted"
            in (found[f"round-trip.{route}"]["detail"])
        )
    assert "was made like" in found["round-trip.queue"]["detail"]
    assert queues(shop) == before


@pytest.mark.parametrize(
    ("operation", "level", "name"),
    [
        ("CreateQueue", "warn", "round-trip.queue"),
        ("SendMessage", "fail", "round-trip.inline"),
        ("ReceiveMessage", "fail", "round-trip.inline"),
        ("DeleteMessage", "fail", "round-trip.inline"),
        ("DeleteQueue", "warn", "round-trip.queue"),
    ],
)
def test_a_right_on_queues_that_is_lacking(
    operation: str, level: str, name: str, shop: Shop
) -> None:
    with shop.monkeypatch.context() as patch:
        deny(patch, operation)
        wrong = examine("--temporary-queue")

    assert wrong[name]["level"] == level
    left = [each for each in queues(shop) if "-doctor-" in each]
    assert len(left) == (operation == "DeleteQueue")
    if left:
        shop.mend(wrong[name]["command"])
        assert "-doctor-" not in str(queues(shop))


def test_a_message_that_does_not_come(shop: Shop) -> None:
    shop.monkeypatch.setattr(round_trip, "WAIT_SECONDS", 0)

    wrong = examine("--temporary-queue")

    assert "did not come within" in wrong["round-trip.inline"]["detail"]
    assert "-doctor-" not in str(queues(shop))
