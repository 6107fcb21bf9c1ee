"""The messages of the demo.

Two small ones, API models that botocore ships as JSON, a payload that does not compress, and the
user's own JSON files.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import from_json

from claimcheck.errors import BodyInvalid
from letsgo_queue.files import read_file

DemoMessage: TypeAlias = dict[str, Any]

MODELS = ("sqs", "lambda", "dynamodb", "s3", "ec2")
"""Services whose API models are sent: 0.1 to 4 MB of JSON each."""

INCOMPRESSIBLE_BYTES = 1_500_000


def demo_messages(paths: Sequence[Path]) -> list[DemoMessage]:
    """Make the messages: the built-in ones first, those from files last.

    Args:
        paths: JSON files to send as well.

    Raises:
        BodyInvalid: A file cannot be read, or is not JSON.
    """
    return [
        {"type": "demo:hello", "payload": {"text": "Grüße aus der Warteschlange 🎈"}},
        {"type": "demo:order", "payload": {"order_id": "42", "lines": [{"sku": "A-7"}] * 50}},
        *({"type": f"model:{name}", "payload": _model(name)} for name in MODELS),
        {"type": "demo:noise", "payload": _noise()},
        *({"type": f"file:{name}", "payload": _read(path)} for name, path in _named(paths)),
    ]


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each file with a name: its own, or its path if another file has the same name."""
    alike = Counter(path.name for path in dict.fromkeys(paths))
    for path in paths:
        yield str(path) if alike[path.name] > 1 else path.name, path


def _model(service: str) -> Any:
    """The newest API model of a service, as botocore ships it."""
    versions = sorted(p.name for p in (files("botocore") / "data" / service).iterdir())
    packed = files("botocore") / "data" / service / versions[-1] / "service-2.json.gz"
    return json.loads(gzip.decompress(packed.read_bytes()))


def _noise() -> str:
    seeded = random.Random(7)  # the same noise every time
    return base64.b64encode(seeded.randbytes(INCOMPRESSIBLE_BYTES)).decode()


def _read(path: Path) -> Any:
    try:
        return from_json(read_file(path), allow_inf_nan=False)
    except OSError as error:
        raise BodyInvalid(f"{path}: {error.strerror}.") from error
    except ValueError:
        raise BodyInvalid(f"{path} is not JSON: the demo sends JSON files.") from None
