"""LetsGo's queue and worker, in Python: `{"type", "payload"}` messages on Amazon SQS.

    from letsgo_queue import Message, Worker, enqueue

Everything public is here; the modules below are how it is made.
"""

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.client import (
    Client,
    EnqueueOptions,
    aenqueue,
    default_client,
    enqueue,
    set_default_client,
)
from letsgo_queue.delivery import Delivery
from letsgo_queue.errors import (
    HandlerMissing,
    LetsGoQueueError,
    MessageInvalid,
    MessageTooLarge,
    QueueNotFound,
    QueueUnavailable,
    SendFailed,
    SendUncertain,
    SettingsInvalid,
)
from letsgo_queue.events import (
    Event,
    Listener,
    MessageFailed,
    MessageHandled,
    MessageSent,
    MessageSkipped,
)
from letsgo_queue.message import LetsGoMessageType, Message
from letsgo_queue.middleware import Handle, Middleware, SendContext, use_middleware
from letsgo_queue.result import EnqueueResult
from letsgo_queue.settings import QueueSettings
from letsgo_queue.worker import Worker

__all__ = [
    "Client",
    "Delivery",
    "EnqueueOptions",
    "EnqueueResult",
    "Event",
    "Handle",
    "HandlerMissing",
    "LetsGoMessageType",
    "LetsGoQueueError",
    "Listener",
    "Message",
    "MessageAttribute",
    "MessageFailed",
    "MessageHandled",
    "MessageInvalid",
    "MessageSent",
    "MessageSkipped",
    "MessageTooLarge",
    "Middleware",
    "QueueNotFound",
    "QueueSettings",
    "QueueUnavailable",
    "SendContext",
    "SendFailed",
    "SendUncertain",
    "SettingsInvalid",
    "Worker",
    "aenqueue",
    "default_client",
    "enqueue",
    "set_default_client",
    "use_middleware",
]
