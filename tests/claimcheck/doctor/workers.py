"""Workers whose settings the doctor compares with a queue's."""

from __future__ import annotations

from letsgo_queue import Message, RetryPolicy, Worker

HERE = __name__

right = Worker()
patient = Worker(retry_policy=RetryPolicy(max_attempts=8))
slow = Worker()


@right.handler("order:new", timeout=600)
@patient.handler("order:new")
@slow.handler("order:new", timeout=13 * 3600)
def on_order(message: Message[str]) -> None: ...
