"""claimcheck with contents in S3: the same code, and another CLAIMCHECK_STORE."""

from __future__ import annotations

from tests.benchmarks.peers.base import Peer, Place
from tests.benchmarks.peers.claimcheck_peer import ClaimCheckPeer


def open_peer(place: Place) -> Peer:
    return ClaimCheckPeer(place, f"dynamodb://{place.table}?bucket={place.bucket}")
