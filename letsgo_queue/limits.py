"""Limits of SQS, for several modules.

All are from
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
unless another page is named.
"""

MAX_MESSAGE_BYTES = 1_048_576
"""The most that a message may have, body and attributes (1 MiB since August 2025)."""

ANY_QUEUE_BYTES = 262_144
"""The most that a queue made before August 2025 takes. Every queue takes as much."""

SQS_UNIT_BYTES = 65_536
"""AWS bills each 64 KB of payload as a request: https://aws.amazon.com/sqs/pricing/"""

MAX_DELAY_SECONDS = 900
"""The longest delay of one send."""

MAX_VISIBILITY_SECONDS = 43_200
"""The longest that a message stays invisible: 12 hours from its receive."""

DEFAULT_VISIBILITY_TIMEOUT = 30
"""The default visibility timeout of a queue, in seconds.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""

MAX_WAIT_SECONDS = 20
"""The longest that a receive waits for messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""

MAX_BATCH_BYTES = 1_048_576
"""The most that the messages of one call may have together, whatever their queue takes of one.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html"""

MAX_BATCH = 10
"""The most messages that one call receives, sends or deletes."""
