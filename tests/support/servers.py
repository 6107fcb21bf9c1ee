"""AWS servers for the tests: processes of their own, reached over HTTP as AWS is.

MiniStack is strict about sizes and characters; moto has other limits. What holds on both, and on
AWS itself where the tests are asked to use it, does not rest on one emulator's reading of AWS.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from urllib.request import urlopen

import boto3

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

START_SECONDS = 60
STOP_SECONDS = 10

_LOOPBACK = "127.0.0.1"
_MINISTACK_VARIABLE = "LETSGO_TEST_MINISTACK"
# Read here, as no test sees the caller's variables.
_MINISTACK = os.environ.get(
    _MINISTACK_VARIABLE, str(Path(__file__).parents[2] / ".venv-ministack/bin/ministack")
)

# A server must not outlive the tests, not even killed ones: it ends when the pipe to its
# supervisor does.
_SUPERVISOR = """
import subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.read(), server.terminate()), daemon=True).start()
sys.exit(server.wait())
"""


Service: TypeAlias = Literal["sqs", "dynamodb", "s3", "sns", "kms"]

_clients: dict[tuple[object, ...], Any] = {}
_lock = Lock()


@dataclass(frozen=True, slots=True)
class AwsServer:
    """Where a test finds AWS.

    Attributes:
        name: "ministack", "moto" or "aws".
        endpoint_url: The server's address; None for AWS itself.
        region: The region that queues and tables are made in.
    """

    name: str
    endpoint_url: str | None
    region: str
    # Its own, as the test may break what the environment says.
    _session: boto3.Session = field(default_factory=boto3.Session, repr=False)
    _queues: list[str] = field(default_factory=list, repr=False)
    _tables: list[str] = field(default_factory=list, repr=False)
    _buckets: list[str] = field(default_factory=list, repr=False)
    _kms_keys: list[str] = field(default_factory=list, repr=False)
    _topics: list[str] = field(default_factory=list, repr=False)

    def sqs(self) -> SQSClient:
        return self._session.client("sqs", self.region, endpoint_url=self.endpoint_url)

    def dynamodb(self) -> DynamoDBClient:
        return self._session.client("dynamodb", self.region, endpoint_url=self.endpoint_url)

    def kms(self) -> KMSClient:
        return self._session.client("kms", self.region, endpoint_url=self.endpoint_url)

    def make_kms_key(self) -> str:
        """Make a key in KMS, which is to be removed after the test, and return its ARN."""
        client = self._own("kms")
        arn: str = client.create_key(Description="claimcheck-test")["KeyMetadata"]["Arn"]
        client.close()
        self._kms_keys.append(arn)
        return arn

    def s3(self) -> S3Client:
        return self._session.client("s3", self.region, endpoint_url=self.endpoint_url)

    def sns(self) -> SNSClient:
        return self._session.client("sns", self.region, endpoint_url=self.endpoint_url)

    def make_topic(self, **attributes: str) -> str:
        """Make a topic, which is removed after the test, and return its ARN."""
        client = self._own("sns")
        suffix = ".fifo" if attributes.get("FifoTopic") == "true" else ""
        name = _unique("claimcheck-test") + suffix
        arn: str = client.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        client.close()
        self._topics.append(arn)
        return arn

    def subscribe(self, topic: str, queue: str, **attributes: str) -> None:
        """Subscribe a queue to a topic.

        Args:
            topic: The topic's ARN.
            queue: The queue's URL.
            attributes: Those of the subscription: `RawMessageDelivery="true"`.
        """
        sqs, sns = self._own("sqs"), self._own("sns")
        found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = found["Attributes"]["QueueArn"]
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        sqs.close()
        sns.close()

    def make_bucket_name(self) -> str:
        """Return a name that no bucket has; a bucket so named is removed after the test."""
        name = _unique("claimcheck-test")
        self._buckets.append(name)
        return name

    def make_bucket(self) -> str:
        """Make a bucket, which is removed after the test, and return its name."""
        name, client = self.make_bucket_name(), self._own("s3")
        region = cast("BucketLocationConstraintType", self.region)
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
        client.close()
        return name

    def objects_in(self, bucket: str) -> dict[str, int]:
        """The keys of a bucket's objects, and their sizes."""
        client = self._own("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
        client.close()
        return found

    def make_queue(self, *, name: str | None = None, **attributes: str) -> str:
        """Make a queue and return its URL.

        Args:
            name: What the queue's name starts with; the rest makes it unique.
            attributes: SQS's own, such as `VisibilityTimeout="1"`; `FifoQueue="true"` also gives
                the name its suffix.
        """
        suffix = ".fifo" if attributes.get("FifoQueue") == "true" else ""
        client = self._own("sqs")
        url: str = client.create_queue(
            QueueName=_unique(name or "claimcheck-test") + suffix,
            Attributes=cast("dict[QueueAttributeNameType, str]", attributes),
        )["QueueUrl"]
        client.close()
        self._queues.append(url)
        return url

    def make_table_name(self) -> str:
        """Return a name that no table has; a table so named is removed after the test."""
        name = _unique("claimcheck-test")
        self._tables.append(name)
        return name

    def remove_all(self) -> None:
        """Remove all that was made here and is still there."""
        for topic in self._topics:
            self._own("sns").delete_topic(TopicArn=topic)
        for url in self._queues:
            sqs = self._own("sqs")
            with suppress(sqs.exceptions.QueueDoesNotExist):
                sqs.delete_queue(QueueUrl=url)
        for table in self._tables:
            dynamodb = self._own("dynamodb")
            with suppress(dynamodb.exceptions.ResourceNotFoundException):
                dynamodb.delete_table(TableName=table)
        for bucket in self._buckets:
            self._remove_bucket(bucket)
        if self.endpoint_url is None:  # moto cannot, and forgets them anyway
            for key in self._kms_keys:
                self._own("kms").schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        for (session, *_), client in _clients.items():
            if session is self._session:
                client.close()

    @property
    def session(self) -> boto3.Session:
        """What the clients here are made by: a session of its own reads all models again."""
        return self._session

    def lasting(self, service: Service) -> Any:
        """A client that many tests share; it is closed with each test, and works on."""
        return self._client(service, "lasting")

    def _own(self, service: Service) -> Any:
        """The same for what is made and removed here, which closes it each time."""
        return self._client(service, "own")

    def _client(self, service: Service, use: str) -> Any:
        key = (self._session, service, self.region, self.endpoint_url, use)
        with _lock:  # a session makes clients for one thread at a time
            if key not in _clients:
                _clients[key] = self._session.client(
                    service, self.region, endpoint_url=self.endpoint_url
                )
            return _clients[key]

    def _remove_bucket(self, name: str) -> None:
        client = self._own("s3")
        with suppress(client.exceptions.NoSuchBucket):
            for key in self.objects_in(name):
                client.delete_object(Bucket=name, Key=key)
            client.delete_bucket(Bucket=name)
        client.close()


@contextmanager
def run_ministack(folder: Path) -> Iterator[str]:
    """Run MiniStack, which writes into `folder` only, and yield its address."""
    program = shutil.which(_MINISTACK)
    if program is None:
        raise RuntimeError(
            f"there is no MiniStack at {_MINISTACK}: `make pytest` installs it, or "
            f"{_MINISTACK_VARIABLE} names another one"
        )
    port = _free_port()
    environment = {
        "BIND_HOST": _LOOPBACK,
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "S3_DATA_DIR": str(folder),
        "STATE_DIR": str(folder),
        # It would listen on a fixed port too, and remove containers from the machine's Docker.
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-docker",
    }
    with _run([program], environment, folder, port, "/_ministack/health") as url:
        yield url


@contextmanager
def run_moto(folder: Path) -> Iterator[str]:
    """Run moto's server, which writes into `folder` only, and yield its address."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", _LOOPBACK, "-p", str(port)]
    with _run(command, {}, folder, port, "/moto-api/") as url:
        yield url


@contextmanager
def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    port: int,
    health: str,
) -> Iterator[str]:
    url = f"http://{_LOOPBACK}:{port}"
    log = folder / "server.log"
    with ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISOR, *command],
            # Nothing else of the caller's: both servers read variables with everyday names.
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(folder),
                "TMPDIR": str(folder),
                **environment,
            },
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
        )
        stack.callback(_stop, process)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url + health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{command[0]} did not start; its log says:\n{log.read_text(errors='replace')}"
                )
            time.sleep(0.05)
        yield url


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return cast("int", probe.getsockname()[1])


def _unique(start: str) -> str:
    return f"{start}-{uuid.uuid4().hex[:12]}"
