"""The libraries that are compared: how each sends, receives and deletes a message."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

from tests.benchmarks.peers.base import Peer, Place

PeerName: TypeAlias = Literal[
    "claimcheck",
    "claimcheck-bucket",
    "claimcheck-attached",
    "boto3",
    "extended-client",
    "taskiq",
    "fanferro",
]

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that is compared.

    Attributes:
        name: Its name in commands and results.
        title: Its name in tables.
        distribution: Its name on PyPI.
        module: The module that sends and receives with it.
        environment: The virtual environment that has it.
        needs: Why that environment may be missing.
        elsewhere_from: From so many bytes on it stores a message elsewhere; None if it never does.
        up_to: It is measured with messages of so many bytes at most; None for all.
    """

    name: PeerName
    title: str
    distribution: str
    module: str
    elsewhere_from: int | None
    up_to: int | None = None
    environment: str = ".venv-bench"
    needs: str = "it is not installed"

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return _ROOT / self.environment / "bin" / "python"

    def takes(self, size: int, queue_limit: int) -> bool:
        """Whether it sends a message of `size` bytes to a queue that accepts `queue_limit`."""
        if self.up_to is not None and size > self.up_to:
            return False
        keeps_it = self.elsewhere_from is not None and size >= self.elsewhere_from
        return keeps_it or size <= queue_limit


LIBRARIES = (
    Library(
        name="claimcheck",
        title="claimcheck",
        distribution="letsgo-claimcheck",
        module="claimcheck_peer",
        elsewhere_from=250_001,
    ),
    Library(
        name="claimcheck-bucket",
        title="claimcheck, ?bucket=",
        distribution="letsgo-claimcheck",
        module="claimcheck_bucket_peer",
        elsewhere_from=250_001,
    ),
    Library(
        name="claimcheck-attached",
        title="claimcheck, attached to boto3",
        distribution="letsgo-claimcheck",
        module="claimcheck_attached_peer",
        elsewhere_from=250_001,
        up_to=1_000_000,  # larger ones take the same way as with `enqueue`
    ),
    Library(
        name="boto3",
        title="boto3 alone",
        distribution="boto3",
        module="boto3_peer",
        elsewhere_from=None,
    ),
    Library(
        name="extended-client",
        title="AWS extended client",
        distribution="amazon-sqs-extended-client",
        module="extended_client_peer",
        elsewhere_from=262_145,
    ),
    Library(
        name="taskiq",
        title="taskiq-aio-sqs",
        distribution="taskiq-aio-sqs",
        module="taskiq_peer",
        elsewhere_from=1_048_576,
        environment=".venv-bench-taskiq",
    ),
    Library(
        name="fanferro",
        title="fanferro",
        distribution="fanferro",
        module="fanferro_peer",
        elsewhere_from=262_145,
        environment=".venv-bench-fanferro",
        needs="it needs Python 3.12 or newer, and none was found",
    ),
)


def library(name: str) -> Library:
    """A library by its name."""
    return next(each for each in LIBRARIES if each.name == name)


def open_peer(name: str, place: Place) -> Peer:
    """Make a library ready, in a process of its environment."""
    module = importlib.import_module(f"{__name__}.{library(name).module}")
    return cast("Peer", module.open_peer(place))
