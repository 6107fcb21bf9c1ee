"""The short way for small messages says what `seal` would."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claimcheck import ClaimCheck
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import any_json, body_of, message_body


def never_asked() -> int:
    raise AssertionError("the queue was asked, and nothing depended on it")


@given(
    body=st.text(max_size=300)
    | any_json().map(lambda payload: message_body("order:new", payload))
    | st.integers(180, 220).map(lambda size: body_of(size, fill="é")),
    attributes_size=st.integers(0, 220),
    options=st.sampled_from(
        [{}, {"threshold": 200}, {"inline_limit": 200}, {"max_size": 200}, {"threshold": "auto"}]
    ),
)
@example(body='{"claimCheck":1}', attributes_size=0, options={})
@example(body=r'{"cl\u0061imCheck":1}', attributes_size=0, options={})
def test_what_it_leaves_alone_is_sealed_as_it_is_and_nobody_is_asked(
    body: str, attributes_size: int, options: dict[str, Any]
) -> None:
    check = ClaimCheck(MemoryClaimStore(), **options)

    if check.leaves_alone(body, attributes_size=attributes_size):
        sealed = check.seal(body, attributes_size=attributes_size, queue_limit=never_asked)
        assert (sealed.route, sealed.text) == ("inline", body)


@pytest.mark.parametrize("body", ["plain text", body_of(2_000), body_of(2_000, fill="漢")])
def test_small_messages_take_it(store: MemoryClaimStore, body: str) -> None:
    assert ClaimCheck(store).leaves_alone(body, attributes_size=100)
    assert ClaimCheck(store, inline_limit=2_100).leaves_alone(body, attributes_size=100)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("", {}),
        ("\ud800", {}),
        ('{"claimCheck":1}', {}),
        (r'{"cl\u0061imCheck":1}', {}),
        (body_of(65_537), {}),
        (body_of(2_001), {"threshold": 2_000}),
        (body_of(2_001), {"inline_limit": 2_000}),
        (body_of(2_001), {"max_size": 2_000}),
        (body_of(2_000), {"signing_key": "0123456789abcdef", "sign_every_message": True}),
        (body_of(2_000), {"encryption": "aes256:" + "A" * 43 + "="}),
    ],
)
def test_whatever_may_be_changed_or_refused_does_not(
    store: MemoryClaimStore, body: str, options: dict[str, Any]
) -> None:
    assert not ClaimCheck(store, **options).leaves_alone(body)
