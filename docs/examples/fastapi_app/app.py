"""The app takes orders of any size, and leaves the work to the worker."""

from fastapi import FastAPI, status
from orders import Order, OrderNew
from pydantic import BaseModel

from claimcheck import aenqueue

app = FastAPI()


class Accepted(BaseModel):
    message_id: str
    route: str


@app.post("/orders", status_code=status.HTTP_202_ACCEPTED)
async def take_order(order: Order) -> Accepted:
    sent = await aenqueue(OrderNew(payload=order))
    return Accepted(message_id=sent.message_id, route=sent.route)
