"""A worker on AWS Lambda."""

from aws_cdk import Aws, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct
from messages import Messages

TIMEOUT = Duration.seconds(60)
"""For a whole batch."""

VISIBILITY_TIMEOUT = Duration.seconds(360)
"""Of the queue, six times as long:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


class LambdaWorker(Construct):
    """A function that handles the queue's messages.

    Attributes:
        function: The function. `claimcheck doctor --lambda` is given its name.
        operator_policy: What an operator needs to have it examined.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        messages: Messages,
        code: lambda_.Code,
        handler: str = "work.handler",
    ) -> None:
        """Make the function and its event source mapping.

        Args:
            scope: The stack.
            id: Its name there.
            messages: The queue, and the store of its claims.
            code: Your code, letsgo-claimcheck and its packages.
            handler: In that module: handler = worker.lambda_handler
        """
        super().__init__(scope, id)
        # Without a queue's URL: the event says which queue a message came from.
        settings = {"CLAIMCHECK_STORE": messages.claim_store}
        if messages.encryption is not None:
            settings["CLAIMCHECK_ENCRYPTION"] = messages.encryption
        self.function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_13,
            code=code,
            handler=handler,
            timeout=TIMEOUT,
            # MB. A message that is opened counts three times, so one of CLAIMCHECK_MAX_SIZE
            # (64 MiB) fits. `claimcheck doctor --largest BYTES` says what a whole batch needs.
            memory_size=512,
            environment=settings,
            log_group=logs.LogGroup(self, "Logs", retention=logs.RetentionDays.ONE_MONTH),
        )
        role = self.function.role
        assert role is not None
        role.add_managed_policy(messages.policies["worker"])
        # Lambda receives and deletes with the rights of the role: the worker's policy has them.
        self.function.add_event_source_mapping(
            "Source",
            event_source_arn=messages.queue.queue_arn,
            # Without this Lambda deletes the messages that failed:
            # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
            report_batch_item_failures=True,
            batch_size=10,
            # At once, 2 to 1,000. Without it Lambda takes messages that it then has no room for:
            # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
            max_concurrency=10,
        )
        # What `claimcheck doctor --lambda` asks, beside the operator's policy of Messages.
        self.operator_policy = iam.ManagedPolicy(
            self,
            "OperatorPolicy",
            statements=[
                iam.PolicyStatement(
                    sid="Function",
                    actions=["lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration"],
                    resources=[self.function.function_arn],
                ),
                iam.PolicyStatement(
                    sid="EventSourceMappings",
                    actions=["lambda:ListEventSourceMappings"],
                    resources=["*"],  # IAM knows no narrower one
                ),
                iam.PolicyStatement(
                    sid="Policies",
                    actions=["iam:SimulatePrincipalPolicy"],
                    resources=[f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/*"],
                ),
            ],
        )
