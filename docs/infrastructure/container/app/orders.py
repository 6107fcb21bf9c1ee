from typing import Literal

from letsgo_queue import Message
from pydantic import BaseModel


class Order(BaseModel):
    order_id: str
    lines: list[dict[str, str]]


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"
