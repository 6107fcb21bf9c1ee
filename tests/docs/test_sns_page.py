"""docs/how-to/sns.md: the topic, the queues, and the rule of a reader who follows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3

from claimcheck.stores.dynamodb_table import ClaimTable
from tests.docs.support import Reader, write_blocks
from tests.support.servers import AwsServer


def test_a_reader_publishes_and_receives(ministack: AwsServer, tmp_path: Path) -> None:
    ministack._tables.append("letsgo-claims")
    ClaimTable("letsgo-claims", region=ministack.region).create()
    topic, queues = ministack.make_topic(), [ministack.make_queue() for _ in range(2)]
    for queue in queues:
        ministack.subscribe(topic, queue)
    events: Any = boto3.client("events")
    events.put_rule(Name="page", EventPattern=json.dumps({"source": ["shop"]}))
    events.put_targets(Rule="page", Targets=[{"Id": "1", "Arn": topic}])
    events.close()
    reader = Reader(tmp_path, ORDERS_TOPIC=topic)
    names = write_blocks("docs/how-to/sns.md", reader.folder)
    assert names == {"publish.py", "worker.py", "announce.py"}

    reader.type("python publish.py")
    reader.type("python announce.py")

    for queue in queues:
        told = reader.type(f"LETSGO_QUEUE_URL={queue} letsgo-queue worker worker:worker --burst")
        assert told.count("500000") == 2  # on threads, which may share a line
