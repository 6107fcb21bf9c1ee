"""The servers that the other tests stand on."""

from __future__ import annotations

import os

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from tests.support.servers import AwsServer


def test_sends_and_receives(aws: AwsServer) -> None:
    queue = aws.make_queue(VisibilityTimeout="30")

    aws.sqs().send_message(QueueUrl=queue, MessageBody="hello")
    received = aws.sqs().receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]

    assert [message["Body"] for message in received] == ["hello"]


def test_puts_and_gets(aws: AwsServer) -> None:
    table = aws.make_table_name()
    aws.dynamodb().create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.dynamodb().get_waiter("table_exists").wait(TableName=table)

    aws.dynamodb().put_item(TableName=table, Item={"id": {"S": "1"}, "data": {"B": b"\x00\xff"}})
    item = aws.dynamodb().get_item(TableName=table, Key={"id": {"S": "1"}})["Item"]

    assert item == {"id": {"S": "1"}, "data": {"B": b"\x00\xff"}}


def test_makes_fifo_queues(aws: AwsServer) -> None:
    queue = aws.make_queue(name="letsgo-test", FifoQueue="true")

    name = queue.rsplit("/", 1)[-1]
    assert name.startswith("letsgo-test-")
    assert name.endswith(".fifo")


def test_removes_what_a_test_made(ministack: AwsServer) -> None:
    kept, gone = ministack.make_queue(), ministack.make_queue()
    ministack.sqs().delete_queue(QueueUrl=gone)
    ministack.make_table_name()

    ministack.remove_all()

    with pytest.raises(ministack.sqs().exceptions.QueueDoesNotExist):
        ministack.sqs().get_queue_attributes(QueueUrl=kept, AttributeNames=["All"])


def test_environment_names_the_server(ministack: AwsServer) -> None:
    url = ministack.make_queue()

    assert url.startswith(str(ministack.endpoint_url))
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody="by the environment alone")


def test_no_test_reaches_aws_by_accident() -> None:
    assert "AWS_ENDPOINT_URL" not in os.environ
    with pytest.raises(NoCredentialsError):
        boto3.client("sqs", region_name="us-west-2").list_queues()
