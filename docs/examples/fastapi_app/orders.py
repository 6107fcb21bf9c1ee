"""The message that the app sends and the worker handles."""

from typing import Literal

from pydantic import BaseModel

from letsgo_queue import Message


class Line(BaseModel):
    sku: str
    note: str = ""


class Order(BaseModel):
    order_id: str
    lines: list[Line]


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"
