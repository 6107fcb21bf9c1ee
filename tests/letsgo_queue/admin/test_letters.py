"""A dead letter as a value: what its body and attributes say of it, and what a filter refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from letsgo_queue import MessageAttribute, SettingsInvalid
from letsgo_queue.admin import DeadLetter, DeadLetterFilter
from letsgo_queue.admin.letters import LetterRoute, dead_letter
from letsgo_queue.attributes import FAILURE
from letsgo_queue.transports.base import ReceivedMessage
from tests.letsgo_queue.support import SECRET


def letter(body: str, **attributes: MessageAttribute) -> DeadLetter:
    return dead_letter(
        ReceivedMessage(
            message_id="one",
            receipt_handle="",
            body=body,
            attributes=attributes,
            receive_count=3,
            sent_at=1_000,
        )
    )


def sealed(**ticket: object) -> str:
    return json.dumps({"type": "order:new", "claimCheck": {"v": 1, **ticket}})


IN_SNS = json.dumps(
    {"Type": "Notification", "TopicArn": "arn", "Message": sealed(id="x", size=5_000_000)}
)


@pytest.mark.parametrize(
    ("body", "route", "whole_size"),
    [
        ('{"type":"order:new","payload":1}', "inline", 32),
        (sealed(data="x", size=1_000_000), "compressed", 1_000_000),
        (sealed(id="x", size=5_000_000), "stored", 5_000_000),
        (IN_SNS, "stored", 5_000_000),
        (sealed(id="x", size="many"), "stored", None),
        (sealed(id="x", size=True), "stored", None),
        (sealed(id="x", size=10**400), "stored", None),
        (sealed(id="x", size=-5), "stored", None),
        ('{"type":"order:new","claimCheck":5}', "compressed", None),
    ],
)
def test_the_way_it_travelled_is_read_from_its_ticket(
    body: str, route: LetterRoute, whole_size: int | None
) -> None:
    found = letter(body)

    assert (found.route, found.whole_size) == (route, whole_size)
    assert (found.type, found.size) == ("order:new", len(body))


@pytest.mark.parametrize(
    "attribute", [MessageAttribute("String", "no use"), MessageAttribute("Binary", b"no use")]
)
def test_what_somebody_else_wrote_into_the_attribute_is_a_reason(
    attribute: MessageAttribute,
) -> None:
    found = letter("", **{FAILURE: attribute})

    assert (found.reason, found.attempts, found.attributes) == ("no use", 3, {})
    assert found.since == found.sent_at


def test_no_content_is_shown() -> None:
    found = letter(SECRET, name=MessageAttribute("String", SECRET))

    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"types": "order:new"}, "types='order:new': give a list of texts"),
        ({"ids": "one"}, "ids='one': give a list"),
        ({"older_than": -1}, "older_than=-1: give 0 or more seconds"),
        ({"older_than": float("nan")}, "older_than=nan"),
        ({"older_than": 1e300}, "older_than=1e"),
        ({"older_than": "7d"}, "older_than is of type str: give a number of seconds"),
    ],
)
def test_a_filter_refuses_what_cannot_be_meant(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        DeadLetterFilter(**options)
