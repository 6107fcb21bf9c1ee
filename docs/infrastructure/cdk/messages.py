"""What messages need: a queue, its dead letters, the store of claims, and who may do what."""

from collections.abc import Mapping, Sequence

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from rights import CONDITIONS, RIGHTS


class Messages(Construct):
    """A queue for messages of any size.

    Attributes:
        queue: The queue.
        claim_store: CLAIMCHECK_STORE of senders and workers.
        encryption: CLAIMCHECK_ENCRYPTION of senders and workers; None without a key.
        policies: The policies of sender, worker, operator and console.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        visibility_timeout: Duration,
        encrypt: bool = False,
    ) -> None:
        """Make all of it.

        Args:
            scope: The stack.
            id: Its name there.
            name: The queue's name, up to 27 of a-z, 0-9 and -. The others begin with it. With
                account and region it is a bucket's name, which has at most 63 characters:
                https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
            visibility_timeout: How long a received message is hidden from others. On Lambda at
                least six times the function's timeout:
                https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
                Elsewhere the worker extends it while a handler runs. It says how soon another
                worker gets a message after a crash, and EcsWorker asks for 60 seconds by itself.
            encrypt: Whether payloads are encrypted with a key of KMS, which costs $1 a month. Read
                docs/how-to/encryption.md first: then every message is sealed, also a small one.
        """
        super().__init__(scope, id)
        arn = f"arn:{Aws.PARTITION}:sqs:{Aws.REGION}:{Aws.ACCOUNT_ID}:{name}"
        dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{name}-dead-letters",  # the name that `claimcheck iam` expects
            max_message_size_bytes=1_048_576,  # as the queue's, or a large message cannot move here
            # Not less than the queue's: on a standard queue the time of a dead letter counts from
            # when it was first sent.
            # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
            retention_period=Duration.days(14),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            redrive_allow_policy=sqs.RedriveAllowPolicy(
                redrive_permission=sqs.RedrivePermission.BY_QUEUE,
                # By its name: each of the two queues cannot wait for the other one.
                source_queues=[sqs.Queue.from_queue_arn(self, "Source", arn)],
            ),
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=name,
            # 1 MiB, the most that SQS takes, and 14 days, the longest that it keeps a message:
            # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
            max_message_size_bytes=1_048_576,
            retention_period=Duration.days(14),
            visibility_timeout=visibility_timeout,
            # SQS's own, of what lies on its disks, at no cost. `encrypt` is something else.
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            # Lambda may receive a message and have no room for it. So AWS asks for 5 or more:
            # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=5),
            removal_policy=RemovalPolicy.RETAIN,  # messages outlive a stack that somebody deletes
        )
        # Who has which claim: the same table as `claimcheck store create` makes.
        table = dynamodb.Table(
            self,
            "Table",
            table_name=f"{name}-claims",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,  # nothing is paid for nothing stored
            time_to_live_attribute="expires_at",  # removes receipts after 30 days, at no cost
            removal_policy=RemovalPolicy.RETAIN,
        )
        # The contents of claims. Few large messages? The table alone can keep them: leave the
        # bucket and its rights out, and see docs/how-to/permissions.md for those of the table.
        bucket = s3.Bucket(
            self,
            "Bucket",
            bucket_name=f"{name}-claims-{Aws.ACCOUNT_ID}-{Aws.REGION}",  # unique among all of AWS
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,  # claims are payloads
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,  # no ACL gives one away
            encryption=s3.BucketEncryption.S3_MANAGED,
            # No versioning: it would keep what the library removes.
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="claimcheck",
                    # The longest that a message can need its claim: 15 days of delay and queue,
                    # 14 among the dead letters, 14 more after a redrive. This is the net: what was
                    # handled goes at once.
                    expiration=Duration.days(43),
                    abort_incomplete_multipart_upload_after=Duration.days(1),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.claim_store = f"dynamodb://{table.table_name}?bucket={bucket.bucket_name}"
        key = None
        if encrypt:
            key = kms.Key(
                self,
                "Key",
                alias=f"{name}-claims",
                description=f"Encrypts the payloads of {name}.",
                enable_key_rotation=True,  # KMS keeps what decrypts older messages
                removal_policy=RemovalPolicy.RETAIN,  # without it nobody reads a message any more
            )
        self.encryption = None if key is None else f"kms://{key.key_arn}"
        arns = {
            "Queue": self.queue.queue_arn,
            "DeadLetterQueue": dead_letters.queue_arn,
            "Metrics": "*",  # IAM knows no narrower one
            "Items": table.table_arn,
            "Table": table.table_arn,
            "Objects": bucket.arn_for_objects("*"),
            "Bucket": bucket.bucket_arn,
        } | ({} if key is None else {"Key": key.key_arn})
        self.policies = {
            role: iam.ManagedPolicy(
                self, f"{role.title()}Policy", statements=_statements(rights, arns)
            )
            for role, rights in RIGHTS.items()
        }


def _statements(
    rights: Mapping[str, Sequence[str]], arns: Mapping[str, str]
) -> list[iam.PolicyStatement]:
    """A statement for each thing that there is."""
    return [
        iam.PolicyStatement(
            sid=kind, actions=list(actions), resources=[arns[kind]], conditions=CONDITIONS.get(kind)
        )
        for kind, actions in rights.items()
        if kind in arns
    ]
