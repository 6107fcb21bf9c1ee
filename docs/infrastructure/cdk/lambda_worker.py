"""A worker on AWS Lambda."""

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from constructs import Construct
from messages import Messages

TIMEOUT = Duration.seconds(60)
"""For a whole batch."""

VISIBILITY_TIMEOUT = Duration.seconds(360)
"""Of the queue, six times as long:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


class LambdaWorker(Construct):
    """A function that handles the queue's messages."""

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
        self.function.add_event_source(
            sources.SqsEventSource(
                messages.queue,
                # Without this Lambda deletes the messages that failed:
                # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
                report_batch_item_failures=True,
                batch_size=10,
                # At once, 2 to 1,000. Without it Lambda takes messages that it has no room for:
                # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
                max_concurrency=10,
            )
        )
