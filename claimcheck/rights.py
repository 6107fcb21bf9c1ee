"""The rights of a sender, a worker and an operator on each kind of resource of AWS, and no more.

tests/claimcheck/cli/test_iam_calls.py records the calls of each role: every call is allowed here,
and everything here is called. A call may need more than its own right:

    GetObject      if there is no object, S3 says so only to those who may list the bucket
    PutObject, DeleteObject with If-Match    the right to read the object too

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
has all actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum


class Role(StrEnum):
    """The roles that use a queue."""

    SENDER = "sender"
    WORKER = "worker"
    OPERATOR = "operator"


class Kind(StrEnum):
    """The kinds of resources, by which the statements of a policy are named."""

    QUEUE = "Queue"
    DEAD_LETTER_QUEUE = "DeadLetterQueue"
    METRICS = "Metrics"
    NEW_QUEUE = "MakeQueues"
    ITEMS = "Items"
    TABLE = "Table"
    NEW_TABLE = "MakeTable"
    OBJECTS = "Objects"
    BUCKET = "Bucket"
    NEW_BUCKET = "MakeBucket"
    POINTERS = "AwsPointers"
    HANDLED_POINTERS = "HandledAwsPointers"
    KEY = "Key"
    FUNCTION = "Function"
    MAPPINGS = "EventSourceMappings"
    POLICIES = "Policies"


def _actions(service: str, *names: str) -> Sequence[str]:
    return [f"{service}:{name}" for name in names]


RIGHTS: Mapping[Role, Mapping[Kind, Sequence[str]]] = {
    Role.SENDER: {
        Kind.QUEUE: _actions("sqs", "GetQueueAttributes", "SendMessage"),
        Kind.ITEMS: _actions("dynamodb", "DeleteItem", "PutItem"),
        Kind.OBJECTS: _actions("s3", "AbortMultipartUpload", "DeleteObject", "PutObject"),
        Kind.POINTERS: _actions("s3", "DeleteObject", "PutObject"),
        Kind.KEY: _actions("kms", "GenerateDataKey"),
    },
    Role.WORKER: {
        Kind.QUEUE: _actions(
            "sqs",
            "ChangeMessageVisibility",
            "DeleteMessage",
            "GetQueueAttributes",
            "ReceiveMessage",
            "SendMessage",  # delays over 15 minutes
        ),
        Kind.DEAD_LETTER_QUEUE: _actions("sqs", "SendMessage"),
        Kind.ITEMS: _actions("dynamodb", "DeleteItem", "GetItem", "PutItem", "UpdateItem"),
        Kind.OBJECTS: _actions(
            "s3", "AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject"
        ),
        Kind.BUCKET: _actions("s3", "ListBucket"),
        Kind.POINTERS: _actions("s3", "GetObject"),
        Kind.HANDLED_POINTERS: _actions("s3", "DeleteObject"),
        Kind.KEY: _actions("kms", "Decrypt"),
    },
    Role.OPERATOR: {
        Kind.QUEUE: _actions(
            "sqs",
            "ChangeMessageVisibility",
            "GetQueueAttributes",
            "PurgeQueue",
            "ReceiveMessage",
            "SendMessage",
        ),
        Kind.METRICS: _actions("cloudwatch", "GetMetricData"),
        Kind.DEAD_LETTER_QUEUE: _actions(
            "sqs",
            "ChangeMessageVisibility",
            "DeleteMessage",
            "GetQueueAttributes",
            "ReceiveMessage",
        ),
        Kind.NEW_QUEUE: _actions(
            "sqs", "CreateQueue", "GetQueueAttributes", "GetQueueUrl", "ListQueueTags"
        ),
        Kind.ITEMS: _actions("dynamodb", "BatchGetItem", "DeleteItem", "GetItem"),
        Kind.TABLE: _actions("dynamodb", "DescribeTable", "DescribeTimeToLive", "Scan"),
        Kind.NEW_TABLE: _actions("dynamodb", "CreateTable", "UpdateTimeToLive"),
        Kind.OBJECTS: _actions("s3", "DeleteObject", "GetObject"),
        Kind.BUCKET: _actions(
            "s3",
            "GetBucketOwnershipControls",
            "GetBucketPublicAccessBlock",
            "GetBucketVersioning",
            "GetEncryptionConfiguration",
            "GetLifecycleConfiguration",
            "ListBucket",
        ),
        Kind.NEW_BUCKET: _actions(
            "s3",
            "CreateBucket",
            "PutBucketOwnershipControls",
            "PutBucketPublicAccessBlock",
            "PutLifecycleConfiguration",
        ),
        Kind.KEY: _actions("kms", "Decrypt", "GenerateDataKey"),
        Kind.FUNCTION: _actions("lambda", "GetFunctionConcurrency", "GetFunctionConfiguration"),
        Kind.MAPPINGS: _actions("lambda", "ListEventSourceMappings"),
        Kind.POLICIES: _actions("iam", "SimulatePrincipalPolicy"),
    },
}
