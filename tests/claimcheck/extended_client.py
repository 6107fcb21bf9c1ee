"""AWS's client for Python, in a process of its own: importing it changes boto3 for good.

python -m tests.claimcheck.extended_client QUEUE BUCKET send|receive
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.quick_python import quick_python


@dataclass(frozen=True, slots=True)
class ExtendedClient:
    """Sends and receives.

    Attributes:
        queue: The queue's URL.
        bucket: Where large bodies go.
    """

    queue: str
    bucket: str

    def send(self, *bodies: str) -> None:
        """Send messages."""
        self._run("send", json.dumps(bodies))

    def receive(self) -> list[str]:
        """The bodies of messages, as many as one call gives."""
        found: list[str] = json.loads(self._run("receive", ""))
        return found

    def _run(self, what: str, given: str) -> str:
        command = [*quick_python(), "-m", __name__, self.queue, self.bucket, what]
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def main(queue: str, bucket: str, what: str) -> None:
    from sqs_extended_client.client import SQSExtendedClientSession

    client: Any = SQSExtendedClientSession().client("sqs")
    client.large_payload_support = bucket
    if what == "send":
        bodies: Sequence[str] = json.load(sys.stdin)
        for body in bodies:
            client.send_message(QueueUrl=queue, MessageBody=body)
    else:
        answer = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        json.dump([each["Body"] for each in answer.get("Messages", [])], sys.stdout)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
