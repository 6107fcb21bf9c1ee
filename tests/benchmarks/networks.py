"""The networks that are measured on: bare loopback, and one shaped like AWS.

On loopback the emulator's own CPU decides, and nobody runs there. In front of it, for every library
alike, a proxy (`proxy.py`) can make each answer take as long as AWS's would:

    the answer begins   when the request has come over the link, plus the service's latency, plus
                        what the service takes for each byte of the larger body; or, where the
                        emulator is not done by then, when it is
    a byte arrives      when all bytes before it, of every connection, have come over the link

So the emulator's own time passes inside the modelled latency and not on top of it. Where it takes
longer than the model allows, the figure is too high: how often and by how much is reported.

There is no TLS, on either network and for any library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

ServiceName: TypeAlias = Literal["sqs", "dynamodb", "s3"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)

NetworkName: TypeAlias = Literal["loopback", "AWS-like"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a service takes.

    Attributes:
        seconds: From the request's last byte to the answer's first.
        seconds_per_byte: More for each byte of the larger body.
    """

    seconds: float = 0.0
    seconds_per_byte: float = 0.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A network's shape.

    Attributes:
        latencies: By service; none where it is not named.
        bytes_per_second: What the link carries in each direction, for all connections together.
    """

    latencies: Mapping[str, Latency] = field(default_factory=dict)
    bytes_per_second: float = float("inf")

    def latency(self, service: str, size: int) -> float:
        """Seconds that a service takes for a request or an answer of `size` bytes."""
        latency = self.latencies.get(service, Latency())
        return latency.seconds + latency.seconds_per_byte * size


class Link:
    """One direction of a network: carries so many bytes a second, for all connections."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def carry(self, size: int, now: float) -> float:
        """When the last of `size` bytes, handed over now, has arrived."""
        self._free_at = max(now, self._free_at) + size / self._bytes_per_second
        return self._free_at


AWS_LIKE = Shape(
    {
        "sqs": Latency(0.008),
        "dynamodb": Latency(0.005, 0.02e-3 / 1_000),
        "s3": Latency(0.025),
    },
    bytes_per_second=70e6,
)

UNSHAPED = Shape()
"""For counting alone."""

SHAPES: Mapping[str, Shape] = {"AWS-like": AWS_LIKE, "unshaped": UNSHAPED}
