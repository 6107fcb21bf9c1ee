"""Looks at an SQS queue. SQS tells neither age nor traffic: CloudWatch does, minutes later.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from letsgo_queue.admin.letters import told_by
from letsgo_queue.admin.watch import Billed, MessageState, Minute, Peek, PeekedMessage, Traffic
from letsgo_queue.attributes import attributes_size
from letsgo_queue.aws_client import AwsError, explain
from letsgo_queue.forking import PerProcess
from letsgo_queue.limits import MAX_BATCH
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.transports.sqs_client import make_cloudwatch_client

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import (
        DimensionTypeDef,
        MetricDataQueryTypeDef,
        MetricStatTypeDef,
    )

logger = get_logger(__name__)

PEEK_SECONDS = 30
"""How long a peek hides messages if the process is killed meanwhile."""

WAIT_SECONDS = 1
"""A long poll asks all of SQS's servers; a short one may miss messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""

PERIOD_SECONDS = 60
DAY_SECONDS = 86_400
HOUR = timedelta(hours=1)

METRICS = {
    "sent": ("NumberOfMessagesSent", "Sum"),
    "removed": ("NumberOfMessagesDeleted", "Sum"),
    "age": ("ApproximateAgeOfOldestMessage", "Maximum"),
}

BILLED_METRICS = {
    "sent": ("NumberOfMessagesSent", "Sum"),
    "sent_bytes": ("SentMessageSize", "Sum"),
    "received": ("NumberOfMessagesReceived", "Sum"),
    "deleted": ("NumberOfMessagesDeleted", "Sum"),
    "empty": ("NumberOfEmptyReceives", "Sum"),
}


class SqsWatch:
    """Looks at an SQS queue; see `QueueWatch`."""

    peek_costs = (
        "SQS shows a message only to a receiver. So a look counts as a receive of each message, "
        f"and hides it from workers for up to {PEEK_SECONDS} seconds. A message that was received "
        "often may become a dead letter by it. On a FIFO queue its message group waits meanwhile."
    )

    def __init__(self, url: str, *, region: str | None = None) -> None:
        """Name a queue, without asking it yet.

        Args:
            url: The queue's URL.
            region: The region for URLs that do not say.
        """
        self._queue = SqsTransport(url, region=region)
        self._cloudwatch: PerProcess[CloudWatchClient] = PerProcess(
            lambda: make_cloudwatch_client(url, region)
        )

    @property
    def url(self) -> str:
        """The queue's URL."""
        return self._queue.url

    def traffic(self) -> Traffic:
        """Return CloudWatch's figures for the last hour; see `QueueWatch.traffic`."""
        now = datetime.now(UTC)
        try:
            found = self._ask(METRICS, now - HOUR, now, PERIOD_SECONDS)
        except AwsError as error:
            return Traffic(
                missing="Age and traffic of an SQS queue are in CloudWatch, which did not answer: "
                f"{explain(error)} The right for it is cloudwatch:GetMetricData."
            )
        ages = found.get("age", {})
        return Traffic(
            oldest_sent_at=now - timedelta(seconds=ages[max(ages)]) if ages else None,
            minutes=_minutes(found.get("sent", {}), found.get("removed", {})),
            missing=None if any(found.values()) else "CloudWatch has nothing of the last hour yet.",
        )

    def billed(self, since: datetime) -> Billed | None:
        """Return the messages that CloudWatch counted; see `QueueWatch.billed`."""
        try:
            found = self._ask(BILLED_METRICS, since, datetime.now(UTC), DAY_SECONDS)
        except AwsError as error:
            logger.debug("CloudWatch does not say what is billed of %s: %s", self.url, error)
            return None
        return Billed(**{name: round(sum(found.get(name, {}).values())) for name in BILLED_METRICS})

    def _ask(
        self,
        metrics: Mapping[str, tuple[str, str]],
        start: datetime,
        end: datetime,
        period: int,
    ) -> Mapping[str, Mapping[datetime, float]]:
        """Return CloudWatch's values of each metric, by the beginning of their period."""
        answer = self._cloudwatch.get().get_metric_data(
            MetricDataQueries=[
                self._query(name, *metric, period) for name, metric in metrics.items()
            ],
            StartTime=start,
            EndTime=end,
            ScanBy="TimestampDescending",
        )
        return {
            result["Id"]: dict(zip(result["Timestamps"], result["Values"], strict=False))
            for result in answer["MetricDataResults"]
        }

    def _query(self, name: str, metric: str, statistic: str, period: int) -> MetricDataQueryTypeDef:
        queue: DimensionTypeDef = {"Name": "QueueName", "Value": self.url.rpartition("/")[2]}
        counted: MetricStatTypeDef = {
            "Metric": {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": [queue]},
            "Period": period,
            "Stat": statistic,
        }
        return {"Id": name, "MetricStat": counted}

    def peek(
        self, *, limit: int, after: int | None = None, state: MessageState | None = None
    ) -> Peek:
        """Receive messages, and make them visible again; see `QueueWatch.peek`.

        It ignores `after` and `state`: SQS itself chooses which messages it hands out.
        """
        found: dict[str, ReceivedMessage] = {}
        try:
            while len(found) < limit:
                received = self._queue.receive(
                    max_messages=min(limit - len(found), MAX_BATCH),
                    wait_seconds=WAIT_SECONDS,
                    visibility_timeout=PEEK_SECONDS,
                )
                if not received:
                    break
                found |= {each.message_id: each for each in received}
        finally:
            self._make_visible(list(found.values()))
        in_order = sorted(found.values(), key=lambda message: message.sent_at)
        return Peek([_peeked(message) for message in in_order])

    def message(self, message_id: str) -> PeekedMessage | None:
        """Return None: SQS cannot find a message by its id; see `QueueWatch.message`."""
        return None

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()
        if (cloudwatch := self._cloudwatch.take()) is not None:
            cloudwatch.close()

    def _make_visible(self, messages: list[ReceivedMessage]) -> None:
        for start in range(0, len(messages), MAX_BATCH):
            batch = messages[start : start + MAX_BATCH]
            for error in self._queue.change_visibility_batch([(each, 0) for each in batch]):
                if error is not None:
                    logger.warning("%s It is visible again in %d s.", error, PEEK_SECONDS)


def _minutes(
    sent: Mapping[datetime, float], removed: Mapping[datetime, float]
) -> tuple[Minute, ...]:
    return tuple(
        Minute(at, round(sent.get(at, 0)), round(removed.get(at, 0)))
        for at in sorted(sent.keys() | removed.keys())
    )


def _peeked(message: ReceivedMessage) -> PeekedMessage:
    body = told_by(message.body)
    return PeekedMessage(
        message_id=message.message_id,
        type=body.type,
        state=None,
        body=message.body,
        attributes=message.attributes,
        size=body.size + attributes_size(message.attributes),
        route=body.route,
        whole_size=body.whole_size,
        sent_at=datetime.fromtimestamp(message.sent_at, UTC),
        due_at=None,
        receive_count=message.receive_count,
        group_id=message.group_id,
    )
