"""A store whose items are damaged: an error of ours, for that record only, on every store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from claimcheck import ClaimCorrupted
from claimcheck.cli.show import explain
from claimcheck.core.store_choice import Stores
from claimcheck.core.trust import Trust
from claimcheck.stores.base import Lease
from tests.claimcheck.lambda_claims import Claims, Function, event_of, failed, record_of
from tests.claimcheck.places import DynamoDBPlace, Place, SqlitePlace
from tests.claimcheck.s3_places import BucketPlace, Kept, S3Place
from tests.claimcheck.support import ticket_in
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SQLITE: Mapping[str, str] = {
    "no parts": "UPDATE claim_contents SET parts = 0 WHERE claim_id = :id",
    "parts as text": "UPDATE claim_contents SET parts = 'two' WHERE claim_id = :id",
    "more parts": "UPDATE claim_contents SET parts = 900000000000 WHERE claim_id = :id",
    "an expiry that is no time": "UPDATE claim_contents SET expires_at = 'x' WHERE claim_id = :id",
    "an expiry after all time": "UPDATE claim_contents SET expires_at = 9e999 WHERE claim_id = :id",
    "a part numbered -1": "UPDATE claim_parts SET part = -1 WHERE claim_id = :id",
    "a part numbered 0.5": "UPDATE claim_parts SET part = 0.5 WHERE claim_id = :id",
    "a part numbered x": "UPDATE claim_parts SET part = 'x' WHERE claim_id = :id",
    "a part too many": "INSERT INTO claim_parts VALUES (:id, 1, x'00')",
    "a part of text": "UPDATE claim_parts SET data = 'text' WHERE claim_id = :id",
    "a part that is a number": "UPDATE claim_parts SET data = 5 WHERE claim_id = :id",
    "text that is not UTF-8": "UPDATE claim_contents SET expires_at = CAST(x'ff' AS TEXT)"
    " WHERE claim_id = :id",
    "a state that is none": "INSERT INTO claim_records VALUES (:key, 'asleep', 'l', 9e9, 9e9)",
    "a state that is not UTF-8": "INSERT INTO claim_records"
    " VALUES (:key, CAST(x'ff' AS TEXT), 'l', 9e9, 9e9)",
    "a lease until soon": "INSERT INTO claim_records VALUES (:key, 'leased', 'l', 'soon', 9e9)",
    "a lease for ever": "INSERT INTO claim_records VALUES (:key, 'leased', 'l', 9e99, 9e9)",
    "a lease for centuries": "INSERT INTO claim_records VALUES (:key, 'leased', 'l', 9e10, 9e9)",
}

_PART, _RECORD = "{id}/0", "{id}@"
_LEASED = {"state": {"S": "leased"}, "lease_id": {"S": "l"}}

DYNAMODB: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "no parts": (_PART, {"parts": {"N": "0"}}),
    "parts as text": (_PART, {"parts": {"S": "two"}}),
    "more parts": (_PART, {"parts": {"N": "1" + "0" * 100}}),
    "an expiry that is no time": (_PART, {"EXPIRY": {"S": "x"}}),
    "an expiry after all time": (_PART, {"EXPIRY": {"N": "1" + "0" * 100}}),
    "a part of text": (_PART, {"data": {"S": "text"}}),
    "a part that is a number": (_PART, {"data": {"N": "5"}}),
    "a part that is a map": (_PART, {"data": {"M": {"B": {"S": "x"}}}}),
    "a state that is none": (_RECORD, {"state": {"S": "asleep"}, "lease_until": {"N": "1"}}),
    "a state that is a number": (_RECORD, {"state": {"N": "1"}, "lease_until": {"N": "1"}}),
    "no state": (_RECORD, {"lease_until": {"N": "1"}}),
    "a lease until soon": (_RECORD, {**_LEASED, "lease_until": {"S": "soon"}}),
    "a lease for ever": (_RECORD, {**_LEASED, "lease_until": {"N": "1" + "0" * 100}}),
    "no end of the lease": (_RECORD, _LEASED),
}


S3_CONTENTS: Mapping[str, Callable[[Kept], Kept]] = {
    "a byte too many": lambda kept: kept._replace(data=kept.data + b"x"),
    "a byte missing": lambda kept: kept._replace(data=kept.data[:-1]),
    "other bytes": lambda kept: kept._replace(data=kept.data[::-1]),
    "nothing beside the bytes": lambda kept: kept._replace(metadata={}),
    "an expiry that is no time": lambda kept: kept._replace(metadata={"expires-at": "x"}),
    "an expiry after all time": lambda kept: kept._replace(metadata={"expires-at": "1" * 100}),
}

S3_RECORDS: Mapping[str, bytes] = {
    "a record that is not UTF-8": b"\xff",
    "a record that is no object": b"[]",
    "a record of brackets": b"[" * 4_000,
    "a record without a lease": b'{"state": "leased", "lease_until": 1}',
    "a state that is none": b'{"state": "asleep", "lease_id": "l", "lease_until": 1}',
    "a lease until soon": b'{"state": "leased", "lease_id": "l", "lease_until": "soon"}',
    "a lease for ever": b'{"state": "leased", "lease_id": "l", "lease_until": 1%s}' % (b"0" * 400),
    "a record that is too large": b'{"lease_id": "%s"}' % (b"l" * 5_000),
}


def damages(place: Place) -> Sequence[str]:
    if isinstance(place, SqlitePlace):
        return list(SQLITE)
    if isinstance(place, S3Place):
        return [*S3_CONTENTS, *S3_RECORDS]
    if isinstance(place, BucketPlace):  # its records are in DynamoDB
        return list(S3_CONTENTS)
    if not isinstance(place, DynamoDBPlace):
        pytest.skip("nobody else can write to claims in memory")
    # moto does not compare a number with a text; it fails itself.
    return [each for each in DYNAMODB if each != "a lease until soon" or not place.is_moto]


def damage(place: Place, claim_id: str, how: str) -> None:
    """Change a claim behind the store's back."""
    if isinstance(place, SqlitePlace):
        with place._file() as file:
            file.execute(SQLITE[how], {"id": claim_id, "key": f"{claim_id}@"})
        return
    if isinstance(place, S3Place | BucketPlace):
        bucket = place if isinstance(place, S3Place) else place.bucket
        if how in S3_CONTENTS:
            contents = bucket.key_of(claim_id)
            bucket.put(contents, S3_CONTENTS[how](bucket.read(contents)))
        else:
            record = quote(f"{claim_id}@", safe="@")
            bucket.put(f"records/{record}", Kept(S3_RECORDS[how], {}))
        return
    assert isinstance(place, DynamoDBPlace)
    name, changes = DYNAMODB[how]
    layout = place.store.layout
    key = layout.key(name.format(id=claim_id))
    client, table = place._client, place.store.table
    found = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    renamed = {layout.expires_at if k == "EXPIRY" else k: v for k, v in changes.items()}
    client.put_item(TableName=table, Item={**found, **key, **renamed})


def test_of_a_batch_only_the_damaged_record_fails(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    claims = Claims(place.store)
    bad = {how: claims.sealed(seed) for seed, how in enumerate(damages(place), 3)}
    for how, body in bad.items():
        damage(place, ticket_in(body)["id"], how)
    bad_records = [record_of(body, how) for how, body in bad.items()]
    good = [record_of(claims.sealed(seed), f"good {seed}") for seed in (1, 2)]
    function = Function(claims)
    claims.originals.clear()  # which the function would look up
    decorated = function.decorated()

    answer = decorated(event_of(good[0], *bad_records, good[1]), Context())

    assert answer == failed(*bad)
    assert [each["messageId"] for each in function.seen[0]["Records"]] == ["good 1", "good 2"]
    logged = [r for r in caplog.records if r.name == "claimcheck.records"]
    assert len(logged) == len(bad)
    for line, body in zip(logged, bad.values(), strict=True):
        assert line.levelno == logging.ERROR
        assert f"(claim {ticket_in(body)['id']}): " in line.message
        assert "is left for inspection" in line.message


def test_opening_says_what_is_damaged_and_leaves_the_claim(place: Place) -> None:
    claims = Claims(place.store)
    for seed, how in enumerate(damages(place)):
        body = claims.sealed(seed)
        damage(place, ticket_in(body)["id"], how)

        with pytest.raises(ClaimCorrupted, match=r"^message m-1 of type '.*' \(claim .*\): ") as it:
            claims.check.open(body, message_id="m-1")

        assert not it.value.retryable, how
        assert it.value.__cause__ is None, how


def test_showing_says_that_a_claim_is_damaged(place: Place) -> None:
    claims = Claims(place.store)
    for seed, how in enumerate(damages(place)):
        body = claims.sealed(seed)
        damage(place, ticket_in(body)["id"], how)

        report = explain(body, stores=lambda: Stores(place.store), max_size=10_000, trust=Trust())

        assert report.claim is not None
        assert report.claim.state == "damaged", how


def test_a_damaged_record_of_a_message_without_a_claim_fails_that_message(place: Place) -> None:
    claims = Claims(place.store)
    record_damages = [how for how in damages(place) if "state" in how or "lease" in how]
    if not record_damages:
        pytest.skip("its records are in DynamoDB")
    for number, how in enumerate(record_damages):
        damage(place, f"once/q/{number}", how)

        with pytest.raises(ClaimCorrupted, match=r"^message m-1: "):
            claims.check.open("{}", message_id="m-1", once=f"once/q/{number}@")


def test_a_duplicate_is_a_duplicate_though_its_contents_are_damaged(place: Place) -> None:
    claims = Claims(place.store)
    for seed, how in enumerate(each for each in damages(place) if "part" in each or "byte" in each):
        body = claims.sealed(seed)
        key = f"{ticket_in(body)['id']}@"
        place.store.acquire(key, Lease("theirs", 60))
        place.store.complete(key, "theirs")
        damage(place, ticket_in(body)["id"], how)
        function = Function(claims)
        claims.originals.clear()

        assert function.decorated()(event_of(record_of(body, "m")), Context()) == failed(), how
        assert not function.seen
