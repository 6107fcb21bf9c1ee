"""The worker. It gets each order whole, however it travelled."""

from orders import OrderNew

from claimcheck import unwrap_claim_check
from letsgo_queue import Worker

worker = Worker()


@worker.handler(OrderNew)
@unwrap_claim_check
def on_order(message: OrderNew) -> None:
    order = message.payload
    print(f"order {order.order_id} has {len(order.lines)} lines", flush=True)
