"""The proxy that fails: what it carries to S3, and how it tells calls apart there."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ResponseStreamingError

from claimcheck import open_store
from claimcheck.testing.claims import MINE, OTHERS, make_claim
from tests.support.calls import Call
from tests.support.faulty_server import Failure, FaultyServer
from tests.support.servers import AwsServer

DATA = bytes(range(256)) * 50


@pytest.fixture
def proxy(ministack: AwsServer) -> Iterator[FaultyServer]:
    with FaultyServer(str(ministack.endpoint_url)) as proxy:
        yield proxy


def test_objects_go_through(ministack: AwsServer, proxy: FaultyServer) -> None:
    name = ministack.make_bucket()
    with closing(boto3.client("s3", endpoint_url=proxy.url)) as s3:
        s3.put_object(Bucket=name, Key="a b/1", Body=BytesIO(DATA), Metadata={"type": "x"})
        whole = s3.get_object(Bucket=name, Key="a b/1")
        piece = s3.get_object(Bucket=name, Key="a b/1", Range="bytes=1-3")
        head = s3.head_object(Bucket=name, Key="a b/1")
        listed = s3.list_objects_v2(Bucket=name)["Contents"]
        begun = s3.create_multipart_upload(Bucket=name, Key="2")
        s3.upload_part(Bucket=name, Key="2", UploadId=begun["UploadId"], PartNumber=1, Body=DATA)
        s3.abort_multipart_upload(Bucket=name, Key="2", UploadId=begun["UploadId"])
        s3.delete_object(Bucket=name, Key="a b/1")

        assert whole["Body"].read() == DATA
        assert piece["Body"].read() == DATA[1:4]
    assert whole["ETag"] == head["ETag"] == listed[0]["ETag"]
    assert (head["ContentLength"], head["Metadata"]) == (len(DATA), {"type": "x"})
    assert ministack.objects_in(name) == {}
    assert proxy.operations == [
        "PutObject",
        "GetObject",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "CreateMultipartUpload",
        "UploadPart",
        "AbortMultipartUpload",
        "DeleteObject",
    ]
    assert proxy.touched == {name}


def test_a_body_in_chunks_arrives_whole(ministack: AwsServer, proxy: FaultyServer) -> None:
    name = ministack.make_bucket()
    address = proxy.url.removeprefix("http://")
    credentials = "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-2/s3/aws4_request"
    with closing(http.client.HTTPConnection(address)) as connection:
        connection.request(
            "PUT",
            f"/{name}/1",
            iter([DATA, b"end"]),
            {"Authorization": credentials},
            encode_chunked=True,
        )
        assert connection.getresponse().read() == b""

    assert ministack.objects_in(name) == {"1": len(DATA) + 3}


def test_half_an_answer_says_how_long_it_is_and_breaks_off(
    ministack: AwsServer, proxy: FaultyServer
) -> None:
    name = ministack.make_bucket()
    with closing(boto3.client("s3", endpoint_url=proxy.url)) as s3:
        s3.put_object(Bucket=name, Key="1", Body=DATA)
        proxy.inject(Failure.ANSWER_CUT, on="GetObject")
        answer = s3.get_object(Bucket=name, Key="1")

        assert answer["ContentLength"] == len(DATA)
        with pytest.raises(ResponseStreamingError):
            answer["Body"].read()


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.THROTTLED, "SlowDown"),
        (Failure.DENIED, "AccessDenied"),
        (Failure.TABLE_MISSING, "NoSuchBucket"),
        (Failure.SERVER_ERROR, "InternalError"),
    ],
)
def test_s3_refuses_in_its_own_words(
    proxy: FaultyServer, ministack: AwsServer, failure: Failure, code: str
) -> None:
    proxy.inject(failure, on="s3")
    once = Config(retries={"total_max_attempts": 1})
    with (
        closing(boto3.client("s3", endpoint_url=proxy.url, config=once)) as s3,
        pytest.raises(ClientError, match=code),
    ):
        s3.get_object(Bucket="claims", Key="1")


def test_calls_to_s3_are_told_apart(ministack: AwsServer, proxy: FaultyServer) -> None:
    bucket = ministack.make_bucket()
    claim = make_claim()
    with closing(open_store(f"s3://{bucket}?endpoint_url={proxy.url}")) as store:
        store.write(claim.facts, claim.parts)
        store.acquire(claim.key, MINE)
        store.extend(claim.key, MINE)
        store.release(claim.key, MINE.id)
        store.acquire(claim.key, MINE)
        store.hand_over(claim.key, MINE.id)
        store.extend(claim.key, MINE)
        store.acquire(claim.key, OTHERS)
        store.read(claim.facts.id, 1, stored=claim.facts.stored).result()
        store.complete(claim.key, MINE.id)
        store.remove(claim.facts.id, 1)

    assert [call for call in proxy.calls if call is not Call.LOOK_UP] == [
        Call.WRITE_PART,
        Call.ACQUIRE,
        Call.EXTEND,
        Call.RELEASE,
        Call.ACQUIRE,
        Call.HAND_OVER,
        Call.EXTEND,
        Call.ACQUIRE,
        Call.READ_PART,
        Call.COMPLETE,
        Call.REMOVE_PART,
    ]
