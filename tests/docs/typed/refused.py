"""What type checkers refuse: each line that says so, and no other. Nothing here is run."""

from typing import Literal

from pydantic import BaseModel

import claimcheck
import letsgo_queue
from letsgo_queue import Client, Message, Worker


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
