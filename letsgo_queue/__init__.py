"""LetsGo's queue and worker, in Python: `{"type", "payload"}` messages on Amazon SQS.

    from letsgo_queue import Message, Worker, enqueue

Every public name is here. A module is loaded when one of its names is first used, so importing the
package costs next to nothing.
"""

from typing import TYPE_CHECKING

from letsgo_queue.lazy import lazy_names

__all__ = [
    "Client",
    "ContactMessage",
    "Delivery",
    "EnqueueManyError",
    "EnqueueManyOptions",
    "EnqueueOptions",
    "EnqueueResult",
    "Event",
    "HandlerMissing",
    "HandlerTimedOut",
    "Health",
    "IncomingMessage",
    "LetsGoError",
    "LetsGoMessageType",
    "LetsGoQueueError",
    "Listener",
    "Message",
    "MessageAttribute",
    "MessageDelayed",
    "MessageFailed",
    "MessageGivenBack",
    "MessageHandled",
    "MessageHeld",
    "MessageInvalid",
    "MessageNotSent",
    "MessageRejected",
    "MessageSent",
    "MessageSkipped",
    "MessageStarted",
    "MessageTooLarge",
    "Middleware",
    "OutgoingMessage",
    "Progress",
    "QueueFailed",
    "QueueNotFound",
    "QueueSettings",
    "QueueUnavailable",
    "Reject",
    "Retry",
    "RetryPolicy",
    "RunOptions",
    "SendContext",
    "SendFailed",
    "SendUncertain",
    "SettingsInvalid",
    "Steps",
    "StripeEvent",
    "StripeEvents",
    "StripeMessage",
    "TenantDeletedMessage",
    "TenantNewMessage",
    "Worker",
    "aenqueue",
    "aenqueue_many",
    "default_client",
    "enqueue",
    "enqueue_many",
    "list_letsgo_queues",
    "listen_to_all",
    "run_workers",
    "set_default_client",
    "use_middleware",
]

if TYPE_CHECKING:
    from letsgo_queue.attributes import MessageAttribute
    from letsgo_queue.errors import (
        EnqueueManyError,
        HandlerMissing,
        HandlerTimedOut,
        LetsGoError,
        LetsGoQueueError,
        MessageInvalid,
        MessageTooLarge,
        QueueNotFound,
        QueueUnavailable,
        Reject,
        Retry,
        SendFailed,
        SendUncertain,
        SettingsInvalid,
    )
    from letsgo_queue.events import (
        EnqueueResult,
        Event,
        Listener,
        MessageDelayed,
        MessageFailed,
        MessageGivenBack,
        MessageHandled,
        MessageHeld,
        MessageNotSent,
        MessageRejected,
        MessageSent,
        MessageSkipped,
        MessageStarted,
        QueueFailed,
        listen_to_all,
    )
    from letsgo_queue.letsgo_messages import (
        ContactMessage,
        StripeEvent,
        StripeEvents,
        StripeMessage,
        TenantDeletedMessage,
        TenantNewMessage,
    )
    from letsgo_queue.message import LetsGoMessageType, Message
    from letsgo_queue.middleware import Middleware, SendContext, Steps, use_middleware
    from letsgo_queue.sending.client import Client, EnqueueManyOptions, EnqueueOptions
    from letsgo_queue.sending.default import (
        aenqueue,
        aenqueue_many,
        default_client,
        enqueue,
        enqueue_many,
        set_default_client,
    )
    from letsgo_queue.sending.many import Progress
    from letsgo_queue.settings import QueueSettings
    from letsgo_queue.transports.base import OutgoingMessage
    from letsgo_queue.transports.discovery import list_letsgo_queues
    from letsgo_queue.worker.delivery import Delivery
    from letsgo_queue.worker.health import Health
    from letsgo_queue.worker.incoming import IncomingMessage
    from letsgo_queue.worker.options import RunOptions
    from letsgo_queue.worker.retries import RetryPolicy
    from letsgo_queue.worker.several import run_workers
    from letsgo_queue.worker.worker import Worker
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "letsgo_queue.attributes": ("MessageAttribute",),
            "letsgo_queue.sending.many": ("Progress",),
            "letsgo_queue.sending.client": ("Client", "EnqueueManyOptions", "EnqueueOptions"),
            "letsgo_queue.sending.default": (
                "aenqueue",
                "aenqueue_many",
                "default_client",
                "enqueue",
                "enqueue_many",
                "set_default_client",
            ),
            "letsgo_queue.transports.base": ("OutgoingMessage",),
            "letsgo_queue.worker.delivery": ("Delivery",),
            "letsgo_queue.worker.incoming": ("IncomingMessage",),
            "letsgo_queue.worker.health": ("Health",),
            "letsgo_queue.events": (
                "EnqueueResult",
                "Event",
                "Listener",
                "MessageDelayed",
                "MessageFailed",
                "MessageGivenBack",
                "MessageHandled",
                "MessageHeld",
                "MessageNotSent",
                "MessageRejected",
                "MessageSent",
                "MessageSkipped",
                "MessageStarted",
                "QueueFailed",
                "listen_to_all",
            ),
            "letsgo_queue.letsgo_messages": (
                "ContactMessage",
                "StripeEvent",
                "StripeEvents",
                "StripeMessage",
                "TenantDeletedMessage",
                "TenantNewMessage",
            ),
            "letsgo_queue.transports.discovery": ("list_letsgo_queues",),
            "letsgo_queue.message": ("LetsGoMessageType", "Message"),
            "letsgo_queue.middleware": ("Middleware", "SendContext", "Steps", "use_middleware"),
            "letsgo_queue.worker.options": ("RunOptions",),
            "letsgo_queue.worker.retries": ("RetryPolicy",),
            "letsgo_queue.worker.several": ("run_workers",),
            "letsgo_queue.settings": ("QueueSettings",),
            "letsgo_queue.worker.worker": ("Worker",),
        },
        others=("letsgo_queue.errors", __all__),
    )
