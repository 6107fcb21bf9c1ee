"""A library in a process of its own, which sends and receives a message as often as it is told.

    python -m tests.benchmarks.peer_process '{"peer": "boto3", "message": "2 KB.json", ...}'

For each line of its standard input it sends the message, receives and deletes it, and prints the
costs. When the input ends, it prints the most memory that it had, and ends.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.measuring import Cost, cost_of, peak_bytes
from tests.benchmarks.peers import open_peer
from tests.benchmarks.peers.base import Message, Peer, Place


def main() -> None:
    """Do rounds."""
    task = json.loads(sys.argv[1])
    peer = open_peer(task["peer"], Place(**task["place"]))
    message: Message = json.loads(Path(task["message"]).read_text())
    try:
        for _ in sys.stdin:
            send, receive = _round(peer, message)
            print(json.dumps({"send": asdict(send), "receive": asdict(receive)}), flush=True)
        print(json.dumps({"peak": peak_bytes()}), flush=True)
    finally:
        peer.close()


def _round(peer: Peer, message: Message) -> tuple[Cost, Cost]:
    received: list[Message] = []
    sending = cost_of(lambda: peer.send(message))
    receiving = cost_of(lambda: received.append(peer.receive()))
    if received != [message]:
        raise AssertionError("what was received is not what was sent")
    return sending, receiving


if __name__ == "__main__":
    main()
