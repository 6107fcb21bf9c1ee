"""The payloads: real JSON of given sizes, and bytes that do not compress.

The JSON comes from botocore's API models: operations and shapes, one service after the other, until
the size is reached. No piece repeats, so it compresses as real JSON does.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

PayloadName: TypeAlias = Literal[
    "2 KB", "100 KB", "300 KB", "1 MB", "5 MB", "20 MB", "1.5 MB noise"
]
PAYLOADS: tuple[PayloadName, ...] = get_args(PayloadName)

JSON_SIZES: Mapping[PayloadName, int] = {
    "2 KB": 2_000,
    "100 KB": 100_000,
    "300 KB": 300_000,
    "1 MB": 1_000_000,
    "5 MB": 5_000_000,
    "20 MB": 20_000_000,
}
"""Bytes of the message as compact JSON."""

NOISE_BYTES = 1_500_000
"""Random bytes. JSON carries them as base64, and compression only undoes that."""

TYPE: Literal["bench:message"] = "bench:message"

_SEED = 7


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A message in a file.

    Attributes:
        name: Which payload it has.
        path: The file, JSON.
        size: Its bytes as compact JSON.
    """

    name: PayloadName
    path: Path
    size: int


def write_payload(name: PayloadName, folder: Path) -> PayloadFile:
    """Write a message with a payload into a folder."""
    text = encode({"type": TYPE, "payload": _make(name)})
    path = folder / f"{name}.json"
    path.write_text(text)
    return PayloadFile(name, path, len(text.encode()))


def encode(message: object) -> str:
    """Compact JSON."""
    return json.dumps(message, separators=(",", ":"))


def _make(name: PayloadName) -> dict[str, Any]:
    if name == "1.5 MB noise":
        noise = random.Random(_SEED).randbytes(NOISE_BYTES)
        return {"data": base64.b64encode(noise).decode()}
    room = JSON_SIZES[name] - len(encode({"type": TYPE, "payload": {"parts": []}}))
    return {"parts": list(_fill(room))}


def _fill(room: int) -> Iterator[Mapping[str, Any]]:
    """Pieces of the models, up to so many bytes. One that is too large for the rest is skipped."""
    for piece in _pieces():
        size = len(encode(piece)) + 1  # and a comma
        if size <= room:
            room -= size
            yield piece
        if room < min(100, JSON_SIZES["2 KB"]):
            return


def _pieces() -> Iterator[Mapping[str, Any]]:
    """Every operation and shape of every service."""
    services = sorted(p.name for p in (files("botocore") / "data").iterdir() if p.is_dir())
    return chain.from_iterable(map(_pieces_of, services))


def _pieces_of(service: str) -> Iterator[Mapping[str, Any]]:
    versions = sorted(p.name for p in (files("botocore") / "data" / service).iterdir())
    packed = files("botocore") / "data" / service / versions[-1] / "service-2.json.gz"
    model = json.loads(gzip.decompress(packed.read_bytes()))
    for kind in ("operations", "shapes"):
        for name, content in model[kind].items():
            yield {"service": service, "kind": kind, "name": name, "content": content}
