"""The traffic through the proxy."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from tests.benchmarks.prices import Units


@dataclass(slots=True, kw_only=True)
class Traffic:
    """The traffic through the proxy.

    Attributes:
        calls: How many requests, by "service operation".
        sent: Bytes of the requests with their heads.
        received: Bytes of the answers with their heads.
        late_calls: How many answers the emulator gave later than the model does.
        late_seconds: How much later, in all.
        units: What AWS would bill; empty unless the traffic was metered.
    """

    calls: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    received: int = 0
    late_calls: int = 0
    late_seconds: float = 0.0
    units: Units = field(default_factory=Units)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the proxy printed."""
        facts: dict[str, Any] = json.loads(text)
        return cls(**{**facts, "units": Units(**facts["units"])})

    @property
    def call_count(self) -> int:
        """How many requests there were."""
        return sum(self.calls.values())

    @property
    def wire_bytes(self) -> int:
        """Bytes in both directions."""
        return self.sent + self.received
