"""What type checkers refuse: each line that says so, and no other. Nothing here is run."""

from typing import Literal

from pydantic import BaseModel

import claimcheck
import letsgo_queue
from letsgo_queue import Client, Message, Worker
from letsgo_queue.testing import Outbox, WorkerFixture


class Order(BaseModel):
    order_id: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


order = Order(order_id="42")
message = OrderNew(payload=order)

OrderNew()  # refused
OrderNew(payload="42")  # refused
OrderNew(type="order:old", payload=order)  # refused
Message[Order](payload=order)  # refused
message.payload = order  # refused by basedpyright
message.type = "order:new"  # refused
message.payload.nothing  # refused

client = Client()
client.enqueue("order:new")  # refused
client.enqueue(message, delay=3)  # refused
client.enqueue(message).route  # refused
letsgo_queue.enqueue(message).route  # refused
claimcheck.enqueue(message).rout  # refused

worker = Worker()
worker.handler(OrderNew(payload=order))  # refused
worker.handler()  # refused


@worker.handler(Order, retries=3)  # refused
def on_order(message: Order) -> None: ...


def test_orders(letsgo_outbox: Outbox, letsgo_worker: WorkerFixture) -> None:
    letsgo_outbox.one(Client)  # refused
    letsgo_outbox.one(OrderNew).message.payload.nothing  # refused
    letsgo_worker(client)  # refused
    letsgo_worker(worker).drain(5)  # refused
