"""The two networks: bare loopback, and one that is shaped like AWS.

On loopback the emulator's CPU time decides, and nobody runs in production there. So a proxy
(`proxy.py`) stands in front of the emulator and makes each answer take as long as that of AWS:

    the answer begins   after the request has crossed the link, the service's latency has passed,
                        and its time for each byte of the larger body; or later, if the emulator
                        is not done by then
    a byte arrives      after all bytes before it, of every connection, have crossed the link

So the emulator's own time is part of the modelled latency, not added to it. If the emulator takes
longer, the figure is too high; the report says how often, and by how much.

No library uses TLS, on either network.
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
    """The time that a service takes.

    Attributes:
        seconds: From the last byte of the request to the first byte of the answer.
        seconds_per_byte: Added for each byte of the larger body.
    """

    seconds: float = 0.0
    seconds_per_byte: float = 0.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a network.

    Attributes:
        latencies: By service; a service that is not named has none.
        bytes_per_second: What the link carries in each direction, all connections together.
    """

    latencies: Mapping[str, Latency] = field(default_factory=dict)
    bytes_per_second: float = float("inf")

    def latency(self, service: str, size: int) -> float:
        """Seconds that a service takes, if the larger body has `size` bytes."""
        latency = self.latencies.get(service, Latency())
        return latency.seconds + latency.seconds_per_byte * size


class Link:
    """One direction of a network, for all connections."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def carry(self, size: int, now: float) -> float:
        """When the last of `size` bytes arrives that are sent now."""
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
"""Only counts."""

SHAPES: Mapping[str, Shape] = {"AWS-like": AWS_LIKE, "unshaped": UNSHAPED}
