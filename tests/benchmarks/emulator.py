"""MiniStack and the proxy in front of it, with queues, a table and a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import boto3

from claimcheck.stores.layout import OWN
from tests.benchmarks.networks import SERVICES, NetworkName
from tests.benchmarks.peers.base import Place
from tests.benchmarks.traffic import Traffic
from tests.support.servers import AwsServer, run_ministack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs.literals import QueueAttributeNameType

REGION: Final = "us-west-2"
ROOT = Path(__file__).parents[2]
ACCOUNT = "000000000000"

_STOP_SECONDS = 10


class Proxy:
    """The process of a proxy."""

    def __init__(self, server_url: str, shape: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.proxy",
                server_url.removeprefix("http://"),
                shape,
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ports: Mapping[str, int] = json.loads(self._read())
        self.urls = {service: f"http://127.0.0.1:{port}" for service, port in ports.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def start(self, *, metered: bool = False) -> None:
        """Count from now on; with `metered` also the units that AWS would bill."""
        self._ask("meter" if metered else "start")

    def stop(self) -> Traffic:
        """Stop counting, and return the traffic since `start`."""
        return Traffic.from_json(self._ask("stop"))

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the proxy has ended; its output says why")
        return line


@dataclass(frozen=True, slots=True)
class Emulator:
    """The servers that libraries are measured on.

    Attributes:
        server: MiniStack.
        proxy: Shapes the network, and counts.
        table: A claim table.
        bucket: A bucket.
    """

    server: AwsServer
    proxy: Proxy
    table: str
    bucket: str

    def make_queue(self, limit: int) -> str:
        """Make a queue that accepts messages of `limit` bytes, and return its name."""
        url = self.server.make_queue(
            name="bench", MaximumMessageSize=str(limit), VisibilityTimeout="120"
        )
        return url.rpartition("/")[2]

    def make_worker_queue(self, name: str) -> None:
        """Make a queue of that name for a worker: FIFO where it ends so."""
        attributes: dict[QueueAttributeNameType, str] = {"VisibilityTimeout": "120"}
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        self.server.sqs().create_queue(QueueName=name, Attributes=attributes)

    def empty_bucket(self) -> None:
        """Remove the objects that a library left."""
        s3 = _s3(self.server)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for each in page.get("Contents", []):
                s3.delete_object(Bucket=self.bucket, Key=each["Key"])

    def place(self, queue: str, network: NetworkName) -> Place:
        """Queue, table and bucket, as a network reaches them."""
        sqs = self.endpoints(network)["sqs"]
        return Place(queue_url=f"{sqs}/{ACCOUNT}/{queue}", table=self.table, bucket=self.bucket)

    def endpoints(self, network: NetworkName) -> Mapping[str, str]:
        """The address of each service on a network."""
        if network == "AWS-like":
            return self.proxy.urls
        assert self.server.endpoint_url is not None
        return dict.fromkeys(SERVICES, self.server.endpoint_url)

    def environment(self, network: NetworkName) -> dict[str, str]:
        """The variables that tell a process where AWS is, and no others."""
        return environment(self.endpoints(network))


def environment(endpoints: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell a process where AWS is."""
    return {
        **{f"AWS_ENDPOINT_URL_{name.upper()}": url for name, url in endpoints.items()},
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def run_emulator(folder: Path, *, shape: str = "AWS-like") -> Iterator[Emulator]:
    """Start MiniStack and the proxy. They end with the block."""
    with run_ministack(folder) as url, Proxy(url, shape) as proxy:
        session = boto3.Session("test", "test", region_name=REGION)
        yield make_emulator(AwsServer("ministack", url, REGION, session), proxy)


def make_emulator(server: AwsServer, proxy: Proxy) -> Emulator:
    """Make a table and a bucket on a server."""
    table = server.make_table_name()
    # As `claimcheck store create` makes it, but without reading settings.
    server.dynamodb().create_table(
        TableName=table,
        KeySchema=[{"AttributeName": OWN.hash_key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": OWN.hash_key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    _s3(server).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return Emulator(server, proxy, table, bucket)


def _s3(server: AwsServer) -> S3Client:
    return boto3.client(
        "s3",
        region_name=server.region,
        endpoint_url=server.endpoint_url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
