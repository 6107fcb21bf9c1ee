"""For the tests of those who use this package: messages stay in memory, handlers run in the test.

    def test_an_order_is_confirmed(letsgo_outbox: Outbox, letsgo_worker: WorkerFixture) -> None:
        take_order(order)                                   # your code; it enqueues OrderNew
        assert letsgo_outbox.one(OrderNew).message.payload.order_id == "42"

        letsgo_worker(worker).drain()                       # your handler; what it raises is raised
        assert letsgo_outbox.one("mail:send")

The fixtures need no set-up: pytest finds them. Other test runners have `Sandbox`, which is a block.
"""

from typing import TYPE_CHECKING

from letsgo_queue.lazy import lazy_names

if TYPE_CHECKING:
    from letsgo_queue.testing.deliveries import DeliveryInTest, make_delivery
    from letsgo_queue.testing.draining import Drained, NotDrained
    from letsgo_queue.testing.lambda_function import (
        LambdaContext,
        LambdaInTest,
        RecordsFailed,
    )
    from letsgo_queue.testing.outbox import Outbox, SentMessage
    from letsgo_queue.testing.queues import Waiting
    from letsgo_queue.testing.sandbox import LambdaFixture, Sandbox, WorkerFixture
    from letsgo_queue.testing.workers import WorkerInTest, drain
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "letsgo_queue.testing.deliveries": ("DeliveryInTest", "make_delivery"),
            "letsgo_queue.testing.draining": ("Drained", "NotDrained"),
            "letsgo_queue.testing.lambda_function": (
                "LambdaContext",
                "LambdaInTest",
                "RecordsFailed",
            ),
            "letsgo_queue.testing.outbox": ("Outbox", "SentMessage"),
            "letsgo_queue.testing.queues": ("Waiting",),
            "letsgo_queue.testing.sandbox": ("LambdaFixture", "Sandbox", "WorkerFixture"),
            "letsgo_queue.testing.workers": ("WorkerInTest", "drain"),
        },
    )

__all__ = [
    "DeliveryInTest",
    "Drained",
    "LambdaContext",
    "LambdaFixture",
    "LambdaInTest",
    "NotDrained",
    "Outbox",
    "RecordsFailed",
    "Sandbox",
    "SentMessage",
    "Waiting",
    "WorkerFixture",
    "WorkerInTest",
    "drain",
    "make_delivery",
]
