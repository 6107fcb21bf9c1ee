"""The page about the wire format: its schema, its vectors, and its reader in another language."""

from __future__ import annotations

import hmac
import json
import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from claimcheck import ClaimCheck, ClaimCorrupted, TicketInvalid
from claimcheck.core import ticket as tickets
from claimcheck.core.encryption import DataKey, Encryption
from claimcheck.stores.base import ClaimFacts
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.core import test_ticket
from tests.claimcheck.support import body_of, forge, noisy_body, small_claim_check
from tests.docs.support import ROOT

PAGE = (ROOT / "docs/wire-format.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "docs/claim-check.schema.json").read_text(encoding="utf-8"))
VECTORS: list[dict[str, Any]] = json.loads(
    (ROOT / "docs/claim-check.vectors.json").read_text(encoding="utf-8")
)
READABLE = [each for each in VECTORS if "refused" not in each]
NODE = shutil.which("node")
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


def reader_of(vector: dict[str, Any]) -> ClaimCheck:
    """A claim check with the keys of a vector, and its contents in the store."""
    store = MemoryClaimStore()
    ticket = json.loads(vector["message"])["claimCheck"]
    if parts := [b64decode(part) for part in vector.get("contents", ())]:
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
    keys = {name: b64decode(key) for name, key in vector.get("dataKeys", {}).items()}
    kinds = {name.partition(":")[0] for name in keys}
    return ClaimCheck(
        store,
        encryption=Encryption([GivenKeys(kind, keys) for kind in kinds]) if keys else None,
        signing_key=vector.get("signingKey"),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_the_vectors(vector: dict[str, Any]) -> None:
    check = reader_of(vector)

    if "refused" in vector:
        with pytest.raises((ClaimCorrupted, TicketInvalid)):
            check.open(vector["message"])
    else:
        assert check.open(vector["message"]).body == vector["body"]
        _jsonschema.validate(json.loads(vector["message"]))


def test_the_vectors_have_each_kind_of_ticket() -> None:
    found = set[str]()
    for each in READABLE:
        ticket = json.loads(each["message"])["claimCheck"]
        found |= {*ticket, ticket["encoding"]}
        found |= {ticket["encryption"]["key"].partition(":")[0]} if "encryption" in ticket else {""}
    fields = {*tickets.CarriedTicket.model_fields, *tickets.StoredTicket.model_fields}
    assert found == fields | tickets.ENCODINGS | tickets.KEY_KINDS | {""}


def test_the_page_names_every_field() -> None:
    fields = {*tickets.CarriedTicket.model_fields, *tickets.StoredTicket.model_fields}
    rows = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert fields <= rows


@pytest.mark.parametrize("vector", [v for v in READABLE if "signingKey" in v], ids=name_of)
def test_a_signature_is_what_the_page_says(vector: dict[str, Any]) -> None:
    message = json.loads(vector["message"])
    ticket = message["claimCheck"]
    pairs = sorted([name, value] for name, value in ticket.items() if name not in {"data", "sig"})
    signed = json.dumps([message["type"], pairs], separators=(",", ":"), ensure_ascii=False)

    expected = hmac.new(vector["signingKey"].encode(), signed.encode(), "sha256").hexdigest()
    assert ticket["sig"] == expected


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


@pytest.mark.skipif(NODE is None, reason="there is no Node here")
def test_a_reader_in_another_language(tmp_path: Path) -> None:
    """The one of the page. Node has zstd from 22.15 on; without it the rest is read."""
    assert NODE is not None
    (source,) = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "open.mjs").write_text(source.replace(_ZSTD_IMPORT, _ZSTD_WHERE_IT_IS))
    (tmp_path / "vectors.json").write_text(json.dumps(VECTORS))
    (tmp_path / "check.mjs").write_text(_CHECK)

    ran = subprocess.run(
        [NODE, "check.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
    opened = dict(json.loads(ran.stdout))
    without_zstd = {None} if "no zstd" in ran.stderr else set()
    for vector in VECTORS:
        wanted = {vector.get("body", "refused")}
        if json.loads(vector["message"])["claimCheck"]["encoding"] == "zstd":
            wanted |= without_zstd
        assert opened[vector["name"]] in wanted, vector["name"]
    assert opened["encrypted, carried, identity"] is not None


_ZSTD_IMPORT = 'import { zstdDecompressSync } from "node:zlib";'
_ZSTD_WHERE_IT_IS = """import * as zlib from "node:zlib";
const zstdDecompressSync = zlib.zstdDecompressSync ?? (() => { throw new Error("no zstd"); });"""
_CHECK = """
import { readFileSync } from "node:fs";
import { open } from "./open.mjs";

const bytes = (text) => Buffer.from(text, "base64");
const opened = JSON.parse(readFileSync("vectors.json")).map((each) => {
  const keys = Object.entries(each.dataKeys ?? {});
  const contents = Buffer.concat((each.contents ?? []).map(bytes));
  try {
    const dataKeys = Object.fromEntries(keys.map(([name, key]) => [name, bytes(key)]));
    return [each.name, open(each.message, contents, dataKeys)];
  } catch (error) {
    if (error.message !== "no zstd") return [each.name, "refused"];
    console.error(error.message);
    return [each.name, null];
  }
});
console.log(JSON.stringify(opened));
"""
