"""What each role may do, as `claimcheck iam --as ROLE` prints it.

docs/how-to/permissions.md says what each right is for.
"""

from collections.abc import Mapping, Sequence

CONDITIONS: Mapping[str, Mapping[str, object]] = {
    # The key is for what this library encrypts, and for nothing else.
    "Key": {"StringEquals": {"kms:EncryptionContext:application": "letsgo-claimcheck"}},
}

RIGHTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    # Who enqueues.
    "sender": {
        "Queue": ["sqs:GetQueueAttributes", "sqs:SendMessage"],
        "Objects": ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"],
        "Key": ["kms:GenerateDataKey"],
    },
    # Who handles messages. It may enqueue as well; with a key it needs the sender's policy for it.
    "worker": {
        "Queue": [
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
        "DeadLetterQueue": ["sqs:SendMessage"],
        "Items": [
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
        ],
        "Objects": [
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:PutObject",
        ],
        "Bucket": ["s3:ListBucket"],
        "Key": ["kms:Decrypt"],
    },
    # Who runs the commands, the console included. The statements Make* that `claimcheck iam` prints
    # too are left out: this app makes everything.
    "operator": {
        "Queue": [
            "sqs:ChangeMessageVisibility",
            "sqs:GetQueueAttributes",
            "sqs:PurgeQueue",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
        "DeadLetterQueue": [
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        ],
        "Metrics": ["cloudwatch:GetMetricData"],
        "Items": ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem"],
        "Table": ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan"],
        "Objects": ["s3:DeleteObject", "s3:GetObject"],
        "Bucket": [
            "s3:GetBucketOwnershipControls",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketVersioning",
            "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration",
            "s3:ListBucket",
        ],
        "Key": ["kms:Decrypt", "kms:GenerateDataKey"],
    },
    # Who looks at `letsgo-queue console --read-only`: it cannot take a message from a queue, or
    # change anything. A console that redrives and deletes needs the operator's policy.
    "console": {
        "Queue": ["sqs:GetQueueAttributes"],
        "DeadLetterQueue": ["sqs:GetQueueAttributes"],
        "Metrics": ["cloudwatch:GetMetricData"],
        "Items": ["dynamodb:BatchGetItem", "dynamodb:GetItem"],
        "Table": ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan"],
        "Objects": ["s3:GetObject"],
        "Bucket": [
            "s3:GetBucketOwnershipControls",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketVersioning",
            "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration",
            "s3:ListBucket",
        ],
        "Key": ["kms:Decrypt", "kms:GenerateDataKey"],
    },
}
