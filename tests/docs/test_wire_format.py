"""docs/wire-format: the page, its schema, and its vectors."""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jsonschema
import pytest

from claimcheck import ClaimCheck, ClaimStore, errors, open_store
from claimcheck.core import ticket as tickets
from claimcheck.core.encryption import DataKey, Encryption
from claimcheck.stores.base import ClaimFacts, Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3_bucket import ClaimBucket
from claimcheck.stores.swapping import Found
from tests.claimcheck.core import test_ticket
from tests.claimcheck.core.encrypting import as_another_would, key_and_additional_data
from tests.claimcheck.places import make_letsgo_table
from tests.claimcheck.support import body_of, forge, noisy_body, small_claim_check
from tests.docs.support import ROOT
from tests.support.servers import AwsServer

FOLDER = ROOT / "docs/wire-format"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
SCHEMA = json.loads((FOLDER / "message.schema.json").read_text(encoding="utf-8"))
VECTORS = json.loads((FOLDER / "vectors.json").read_text(encoding="utf-8"))
MESSAGES: list[dict[str, Any]] = VECTORS["messages"]
SEALED = [each for each in MESSAGES if "body" in each and not each["name"].startswith("not sealed")]
KEY = "aes256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

# A matter of the reader's settings, or of several fields. A value with a last line break is left
# out too: Python's `$` lets it pass, and that of JSON Schema does not.
_BEYOND_A_SCHEMA: list[tuple[str, object]] = [
    ("size", test_ticket.MAX_SIZE + 1),
    ("size", 10**30),
    ("parts", 10**9),
    ("parts", 6),
    ("stored", test_ticket.STORED.size + 1),
    ("stored", 10**30),
]
REFUSED_FIELDS = [
    case
    for kind, fields in (
        ("carried", [*test_ticket.BAD_FIELDS, *test_ticket.BAD_CARRIED_FIELDS]),
        ("stored", [*test_ticket.BAD_FIELDS, *test_ticket.BAD_STORED_FIELDS]),
    )
    for case in test_ticket.cases(
        kind,
        [
            (name, value)
            for name, value in fields
            if (name, value) not in _BEYOND_A_SCHEMA and not str(value).endswith("\n")
        ],
    )
]

_UNSIGNED = {"data", "sig"}
_jsonschema = jsonschema.Draft202012Validator(SCHEMA)


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


class GivenKeys:
    """Data keys as a vector has them."""

    def __init__(self, kind: str, keys: dict[str, bytes]) -> None:
        self.kind = kind
        self._keys = keys

    def for_sealing(self) -> DataKey:
        raise NotImplementedError

    def for_opening(self, name: str) -> bytes | None:
        return self._keys.get(f"{self.kind}:{name}")


def write_contents(store: ClaimStore, vector: dict[str, Any]) -> None:
    ticket = json.loads(vector["message"])["claimCheck"]
    parts = [b64decode(part) for part in vector["contents"]]
    facts = ClaimFacts(
        id=ticket["id"],
        type="order:new",
        parts=len(parts),
        size=ticket["size"],
        stored=ticket["stored"],
        created_at=int(store.now()),
        expires_at=int(store.now()) + 1_000,
    )
    store.write(facts, parts)


def reader_of(vector: dict[str, Any]) -> ClaimCheck:
    """A claim check with the keys of a vector, and its contents in the store."""
    store = MemoryClaimStore()
    if "contents" in vector:
        write_contents(store, vector)
    keys = {name: b64decode(key) for name, key in vector.get("dataKeys", {}).items()}
    kinds = {name.partition(":")[0] for name in keys}
    return ClaimCheck(
        store,
        encryption=Encryption([GivenKeys(kind, keys) for kind in kinds]) if keys else None,
        signing_key=vector.get("signingKey"),
    )


class TestMessages:
    @pytest.mark.parametrize("vector", MESSAGES, ids=name_of)
    def test_opens_or_fails_as_it_should(self, vector: dict[str, Any]) -> None:
        check = reader_of(vector)

        if "error" in vector:
            with pytest.raises(errors.ClaimCheckError) as raised:
                check.open(vector["message"], consumer=vector.get("consumer"))
            assert type(raised.value).__name__ == vector["error"]
        else:
            opened = check.open(vector["message"], consumer=vector.get("consumer"))
            assert opened.body == vector["body"]

    @pytest.mark.parametrize("vector", SEALED, ids=name_of)
    def test_fits_the_schema(self, vector: dict[str, Any]) -> None:
        _jsonschema.validate(json.loads(vector["message"]))

    def test_have_each_kind_of_ticket(self) -> None:
        found = set[str]()
        for each in SEALED:
            ticket = json.loads(each["message"])["claimCheck"]
            found |= {*ticket, ticket["encoding"]}
            encryption = ticket.get("encryption")
            found |= {encryption["key"].partition(":")[0]} if encryption else {""}
        fields = {*tickets.CarriedTicket.model_fields, *tickets.StoredTicket.model_fields}
        assert found == fields | tickets.ENCODINGS | tickets.KEY_KINDS | {""}

    @pytest.mark.parametrize("vector", [v for v in SEALED if "signed" in v], ids=name_of)
    def test_a_signature_is_what_the_page_says(self, vector: dict[str, Any]) -> None:
        message = json.loads(vector["message"])
        ticket = message["claimCheck"]
        pairs = sorted([name, value] for name, value in ticket.items() if name not in _UNSIGNED)
        signed = json.dumps([message["type"], pairs], separators=(",", ":"), ensure_ascii=False)

        assert vector["signed"] == signed
        expected = hmac.digest(vector["signingKey"].encode(), signed.encode(), "sha256")
        assert ticket["sig"] == expected.hex()

    @pytest.mark.parametrize("vector", [v for v in SEALED if "messageKey" in v], ids=name_of)
    def test_encryption_is_what_the_page_says(self, vector: dict[str, Any]) -> None:
        encryption = json.loads(vector["message"])["claimCheck"]["encryption"]
        data_key = vector["dataKeys"][encryption["key"]]
        key, additional_data = key_and_additional_data(vector["message"], data_key)
        stored = b64decode(vector["contents"][0]) if "contents" in vector else None

        assert vector["messageKey"] == key.hex()
        assert vector["additionalData"] == additional_data
        assert as_another_would(vector["message"], stored, data_key) == vector["body"]


class TestStores:
    @pytest.fixture
    def named(self, ministack: AwsServer) -> Iterator[AwsServer]:
        """A server in their region, with the tables and the bucket that the vectors name."""
        server = AwsServer(ministack.name, ministack.endpoint_url, VECTORS["stores"][0]["region"])
        server._tables.extend(["letsgo-claims", "letsgo-main"])
        server._buckets.append("my-claims")
        ClaimTable("letsgo-claims", region=server.region).create()
        make_letsgo_table(server, "letsgo-main")
        ClaimBucket("my-claims", region=server.region).create()
        yield server
        server.remove_all()

    def test_keys_and_labels(self, named: AwsServer) -> None:
        for vector in VECTORS["stores"]:
            parts = vector["parts"]
            facts = ClaimFacts(
                id=vector["id"],
                type="order:new",
                parts=parts,
                size=parts,
                stored=parts,
                created_at=1,
                expires_at=2,
            )
            with closing(open_store(vector["store"], region=vector["region"])) as store:
                assert store.label == vector["label"]
                store.write(facts, [b"x"] * parts)
                assert self.remove_what_is_there(named) == in_order(vector["contents"])
                store.acquire(f"{vector['id']}@", Lease("lease", 30))
                store.acquire(f"{vector['id']}@{vector['consumer']}", Lease("lease", 30))
                records = in_order([vector["record"], vector["sharedRecord"]])
                assert self.remove_what_is_there(named) == records

    def remove_what_is_there(self, aws: AwsServer) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        with closing(aws.dynamodb()) as dynamodb, closing(aws.s3()) as s3:
            for table, names in (("letsgo-claims", ("id",)), ("letsgo-main", ("category", "key"))):
                for item in dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]:
                    key = {name: item[name] for name in names}
                    found.append({"TableName": table, "Key": key})
                    dynamodb.delete_item(TableName=table, Key=key)
            for name in aws.objects_in("my-claims"):
                found.append({"Bucket": "my-claims", "Key": name})
                s3.delete_object(Bucket="my-claims", Key=name)
        return in_order(found)


class TestRecords:
    def test_of_dynamodb(self, ministack: AwsServer) -> None:
        table = ministack.make_table_name()
        ClaimTable(table, region=ministack.region).create()
        with closing(ministack.dynamodb()) as client:
            for vector in VECTORS["records"]:
                with closing(DynamoDBClaimStore(table, clock=lambda: now_of(vector))) as store:  # noqa: B023
                    self.prepare(store, vector)
                    key = store.layout.key(f"{CLAIM['id']}@")
                    client.delete_item(TableName=table, Key=key)
                    if "dynamodb" in vector:
                        client.put_item(TableName=table, Item={**key, **vector["dynamodb"]})
                    assert outcome_in(store) == vector["outcome"], vector["name"]

    def test_of_s3(self) -> None:
        """Its records have the same bytes in memory."""
        for vector in VECTORS["records"]:
            store = MemoryClaimStore(clock=lambda: now_of(vector))  # noqa: B023
            self.prepare(store, vector)
            if "s3" in vector:
                data = vector["s3"].encode()
                store._records[f"{CLAIM['id']}@"] = Found(data, data), vector["now"] + 1_000
            assert outcome_in(store) == vector["outcome"], vector["name"]

    def prepare(self, store: ClaimStore, vector: dict[str, Any]) -> None:
        if vector["contents"]:
            write_contents(store, STORED)
        else:
            store.remove(CLAIM["id"], CLAIM["parts"])


STORED = next(each for each in MESSAGES if each["name"] == "stored, zstd")
CLAIM = json.loads(STORED["message"])["claimCheck"]


def now_of(vector: dict[str, Any]) -> float:
    return float(vector["now"])


def outcome_in(store: ClaimStore) -> str:
    try:
        assert ClaimCheck(store).open(STORED["message"]).body == STORED["body"]
    except errors.ClaimCheckError as error:
        return type(error).__name__
    return "opened"


def in_order(keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(keys, key=str)


def test_the_page_names_every_field() -> None:
    fields = {*tickets.CarriedTicket.model_fields, *tickets.StoredTicket.model_fields}
    rows = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert fields <= rows


class TestSchema:
    @pytest.mark.parametrize(
        "options", [{}, {"encryption": KEY}, {"signing_key": "0123456789abcdef"}]
    )
    @pytest.mark.parametrize("body", [body_of(900), noisy_body(6_000)], ids=["carried", "stored"])
    def test_what_is_sealed_fits(self, options: dict[str, Any], body: str) -> None:
        check = small_claim_check(MemoryClaimStore(), threshold=100, **options)

        _jsonschema.validate(json.loads(check.seal(body).body))

    @pytest.mark.parametrize(("kind", "field", "value"), REFUSED_FIELDS)
    def test_what_the_library_refuses_does_not(self, kind: str, field: str, value: object) -> None:
        body = json.loads(forge(test_ticket.BODIES[kind], **{field: value}))

        assert not _jsonschema.is_valid(body)
