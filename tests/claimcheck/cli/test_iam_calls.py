"""The policies of `claimcheck iam`, held against the calls that each role really makes.

every call is allowed by a statement      else somebody's role would not do
every action of a statement was called    else it would be more than is needed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import typer
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from typer.testing import CliRunner

import claimcheck
from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimStoreError,
    open_store,
    unwrap_claim_check,
)
from claimcheck.cli.app import app as claimcheck_app
from claimcheck.integrations.boto3 import attach
from claimcheck.rights import Role
from claimcheck.stores import s3_contents
from claimcheck.stores.base import Lease
from letsgo_queue import (
    Client,
    Message,
    Reject,
    Retry,
    SendFailed,
    Worker,
    default_client,
    set_default_client,
)
from letsgo_queue.admin.watch import open_watch
from letsgo_queue.cli.app import app as queue_app
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer

Needs: TypeAlias = set[tuple[str, str]]
"""Actions of IAM, and the ARN that each is for."""

ACCOUNT = "000000000000"  # MiniStack's
LARGE = 2_200_000

NAMES = {
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
"""What IAM calls an operation of S3, where it has another name for it."""


class Wire:
    """Sees what every client in this process sends.

    Attributes:
        bodies: The messages that were sent, one at a time.
        refused: An operation that AWS refuses the next time.
        delays: Whether delays go to the queue too.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
        self.bodies: list[str] = []
        self.refused = ""
        self.delays = True
        self._needs: Needs = set()
        self._watching = True
        self._region = region
        call = BaseClient._make_api_call  # type: ignore[attr-defined]  # which no stub has

        def watched(client: Any, operation: str, params: dict[str, Any]) -> Any:
            service: str = client.meta.service_model.service_name
            if operation == self.refused:
                self.refused = ""
                raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)
            if not self.delays:
                params.pop("DelaySeconds", None)
            if operation == "SendMessage":
                self.bodies.append(params["MessageBody"])
            absent = False
            try:
                return call(client, operation, params)
            except ClientError as error:
                absent = error.response["Error"]["Code"] == "NoSuchKey"
                raise
            finally:
                if self._watching:
                    self._needs |= set(self._needed(service, operation, params, absent=absent))

        monkeypatch.setattr(BaseClient, "_make_api_call", watched)

    def take(self) -> Needs:
        """The rights that calls have needed since the last `take`."""
        taken, self._needs = self._needs, set()
        return taken

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Note nothing while the block runs."""
        self._watching = False
        yield
        self._watching = True

    def _needed(
        self, service: str, operation: str, params: Mapping[str, Any], *, absent: bool
    ) -> Iterator[tuple[str, str]]:
        place = f"{service}:{self._region}:{ACCOUNT}"
        if service == "sqs":
            name = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
            yield f"sqs:{operation.removesuffix('Batch')}", f"arn:aws:{place}:{name}"
        elif service == "dynamodb":
            for table in params.get("RequestItems") or [params["TableName"]]:
                yield f"dynamodb:{operation}", f"arn:aws:{place}:table/{table}"
        elif service == "kms":
            yield f"kms:{operation}", params["KeyId"]
        elif service == "cloudwatch":
            yield f"cloudwatch:{operation}", "*"
        elif service == "s3":
            bucket = f"arn:aws:s3:::{params['Bucket']}"
            of_object = f"{bucket}/{params.get('Key')}"
            action = f"s3:{NAMES.get(operation, operation)}"
            yield action, of_object if "Key" in params else bucket
            if "IfMatch" in params:
                yield "s3:GetObject", of_object
            if absent:
                yield "s3:ListBucket", bucket
            if "ObjectOwnership" in params:
                yield "s3:PutBucketOwnershipControls", bucket
        else:
            assert (service, operation) == (
                "sts",
                "GetCallerIdentity",
            )  # for which nobody needs any


@pytest.fixture
def wire(ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    yield Wire(monkeypatch, ministack.region)
    default_client().close()
    set_default_client(None)


@pytest.mark.parametrize(
    "store",
    [
        "dynamodb://{table}",
        pytest.param("dynamodb://{table}?bucket={bucket}&prefix=a", marks=pytest.mark.long),
        "s3://{bucket}/a/b",
    ],
)
def test_each_role_may_do_what_it_does_and_nothing_else(
    store: str, wire: Wire, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, bucket = ministack.make_table_name(), ministack.make_bucket_name()
    store = store.format(table=table, bucket=bucket)
    monkeypatch.setenv("CLAIMCHECK_STORE", store)
    monkeypatch.setattr(s3_contents, "LARGEST_PUT", 1_000_000)
    url = command(queue_app, "queue", "create", table).strip()
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    command(claimcheck_app, "store", "create")
    if store.startswith("dynamodb"):
        mend_a_table(table, wire, ministack)
    made = wire.take()

    kept = send(wire)
    if bucket in store:
        upload_in_vain(wire)
    sent = wire.take()
    if "?bucket" in store:
        with wire.looking_away():
            send_as_before(f"dynamodb://{table}", ministack)
    # As in another process, which knows nothing yet of the queue, the store and its time.
    set_default_client(None)
    separator = "&" if "?" in store else "?"
    monkeypatch.setenv("CLAIMCHECK_STORE", f"{store}{separator}region={ministack.region}")
    if bucket in store:
        wire.refused = "UploadPart"  # of contents that come back
    work()
    worked = wire.take()
    with wire.looking_away(), closing(open_store(os.environ["CLAIMCHECK_STORE"])) as opened:
        opened.acquire("held@", Lease("of a worker that is gone", 600))
    look_after(kept)
    looked_after = wire.take()

    compare(policy(Role.SENDER), sent)
    compare(policy(Role.WORKER), worked)
    compare(policy(Role.OPERATOR), made | looked_after)
    uses_table = any(action.startswith("dynamodb:") for action, _ in sent)
    assert uses_table == (store == f"dynamodb://{table}")


def test_each_role_may_use_the_key(
    wire: Wire, ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire.looking_away():
        url, key = ministack.make_queue(), ministack.make_kms_key()
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/claims.db")
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{key}")

    claimcheck.enqueue({"type": "succeeds", "payload": "small"})
    sent = wire.take()
    # As other processes, which have not got the data key yet.
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{key}?reuse_minutes=1")
    command(claimcheck_app, "show", stdin=wire.bodies[-1])
    CliRunner().invoke(claimcheck_app, ["doctor"])  # which finds that the queue is no good
    shown = wire.take()
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", f"kms://{key}?reuse_minutes=2")
    work()
    worked = wire.take()

    for role, needs in ((Role.SENDER, sent), (Role.OPERATOR, shown), (Role.WORKER, worked)):
        key_only = [each for each in policy(role) if each["Sid"] == "Key"]
        compare(key_only, {need for need in needs if need[0].startswith("kms:")})


def test_each_role_may_use_the_bucket_of_awss_pointers(
    wire: Wire, ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wire.looking_away():
        queue, bucket = ministack.make_queue(), ministack.make_bucket()
    store = f"sqlite:///{tmp_path}/claims.db"
    settings = {"STORE": store, "AWS_POINTERS": bucket, "AWS_POINTERS_REMOVE": "true"}
    for name, value in (settings | {"WRITE": "aws-pointer"}).items():
        monkeypatch.setenv(f"CLAIMCHECK_{name}", value)
    monkeypatch.setenv("LETSGO_QUEUE_URL", queue)
    sqs = attach(ministack.sqs())
    for _ in range(2):
        sqs.send_message(QueueUrl=queue, MessageBody="x" * LARGE)
    wire.refused = "SendMessage"
    with pytest.raises(SendFailed):
        claimcheck.enqueue({"type": "succeeds", "payload": "x" * LARGE})
    sent = wire.take()

    with wire.looking_away():
        remove_one_of(bucket, ministack)
    [message] = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    received = wire.take()
    sqs.close()

    for role, needs in ((Role.SENDER, sent), (Role.WORKER, received)):
        of_buckets = [each for each in policy(role) if each["Action"][0].startswith("s3:")]
        compare(of_buckets, {need for need in needs if need[0].startswith("s3:")})


def remove_one_of(bucket: str, aws: AwsServer) -> None:
    """Remove an object of a bucket, as a lifecycle rule does."""
    client = aws.s3()
    key = client.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"]
    client.delete_object(Bucket=bucket, Key=key)
    client.close()


def mend_a_table(table: str, wire: Wire, aws: AwsServer) -> None:
    """Have `store create` find a table without a TTL."""
    with wire.looking_away():
        client = aws.dynamodb()
        client.update_time_to_live(
            TableName=table,
            TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
        )
        client.close()
    command(claimcheck_app, "store", "create", "--yes")


def send(wire: Wire) -> str:
    """Send on every route; return the body of a message whose claim will stay."""
    large, packed, small = noise(LARGE), "x" * LARGE, "small"
    # The worker's first message has no contents, whose answer may tell S3's time: so it reads a
    # record that is not there.
    assert claimcheck.enqueue({"type": "succeeds", "payload": small}).route == "inline"
    for type in ("succeeds", "fails", "rejected", "removed before", "kept"):
        assert claimcheck.enqueue({"type": type, "payload": type + large}).route == "stored"
    kept = wire.bodies[-1]
    assert claimcheck.enqueue({"type": "succeeds", "payload": packed}).route == "compressed"
    claimcheck.enqueue_many([{"type": "succeeds", "payload": small}] * 2)
    wire.refused = "SendMessage"
    with pytest.raises(SendFailed):
        claimcheck.enqueue({"type": "succeeds", "payload": large})
    wire.delays = False  # so that the worker sees it now, and sends it on
    claimcheck.enqueue({"type": "succeeds", "payload": small}, delay_seconds=2_000)
    wire.delays = True
    return kept


def upload_in_vain(wire: Wire) -> None:
    """Have an upload break off."""
    wire.refused = "UploadPart"
    with pytest.raises(ClaimStoreError):
        claimcheck.enqueue({"type": "succeeds", "payload": noise(LARGE)})


def send_as_before(store_url: str, aws: AwsServer) -> None:
    """Send what was on its way when the table got a bucket."""
    store = open_store(store_url, region=aws.region)
    check = ClaimCheck(store, threshold=1_000, inline_limit=1_000)
    client = Client().using(ClaimCheckMiddleware(check))
    for type in ("succeeds", "removed before"):
        client.enqueue({"type": type, "payload": f"{type} of before" + noise(10_000)})
    client.close()
    store.close()


def work() -> None:
    """Handle everything: with success, after a failure, not at all."""
    worker, tried = Worker(concurrency=1), set[str]()

    def fail_once(message: Message[str]) -> None:
        if message.payload not in tried:
            tried.add(message.payload)
            raise Retry(delay=0)

    @worker.handler("succeeds")
    @unwrap_claim_check(once=True)
    def on_success(message: Message[str]) -> None: ...

    @worker.handler("fails")
    @unwrap_claim_check
    def on_failure(message: Message[str]) -> None:
        fail_once(message)

    @worker.handler("rejected")
    @unwrap_claim_check
    def on_rejected(message: Message[str]) -> None:
        raise Reject("the test says so")

    @worker.handler("removed before")
    @unwrap_claim_check(purge="before")
    def on_removed(message: Message[str]) -> None:
        fail_once(message)

    @worker.handler("kept")
    @unwrap_claim_check(purge="never")
    def on_kept(message: Message[str]) -> None: ...

    worker.run(burst=True)


def look_after(kept: str) -> None:
    """Use every command that an operator has."""
    assert "done" in command(claimcheck_app, "show", stdin=kept)
    command(claimcheck_app, "store", "check")
    command(claimcheck_app, "doctor")
    claim = json.loads(command(claimcheck_app, "claims", "list", "--json"))["claims"][0]["id"]
    command(claimcheck_app, "claims", "show", claim)
    command(claimcheck_app, "claims", "release", "held", "--yes")
    command(claimcheck_app, "claims", "delete", "--id", claim, "--yes")
    command(claimcheck_app, "claims", "delete", "--orphaned", "--yes")
    assert "dead       1\n" in command(queue_app, "queue", "status")
    assert "the test says so" in command(queue_app, "dead-letter", "list")
    assert "1 dead letter moved" in command(queue_app, "dead-letter", "redrive")
    with closing(open_watch(None, QueueSettings.from_environment())) as watch:  # as the console
        assert watch.traffic().minutes is not None
        assert watch.peek(limit=1).messages
    command(queue_app, "queue", "purge", "--yes")


def command(app: typer.Typer, *arguments: str, stdin: str = "") -> str:
    """Run a command in this process, and return what it printed."""
    result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def policy(role: Role) -> Sequence[Mapping[str, Any]]:
    """The statements of the policy that is printed for a role."""
    document = json.loads(command(claimcheck_app, "iam", "--as", role))
    assert document["Version"] == "2012-10-17"
    statements: Sequence[Mapping[str, Any]] = document["Statement"]
    assert len({each["Sid"] for each in statements}) == len(statements)
    return statements


def compare(statements: Sequence[Mapping[str, Any]], needs: Needs) -> None:
    """Compare a policy with the rights that calls have needed, in both directions."""

    def allowed(action: str, arn: str, statement: Mapping[str, Any]) -> bool:
        resources = (fnmatchcase(arn, each) for each in statement["Resource"])
        return action in statement["Action"] and any(resources)

    denied = {need for need in needs if not any(allowed(*need, each) for each in statements)}
    assert denied == set()
    unused = {
        (statement["Sid"], action)
        for statement in statements
        for action in statement["Action"]
        if not any(action == needed and allowed(needed, arn, statement) for needed, arn in needs)
    }
    assert unused == set()
