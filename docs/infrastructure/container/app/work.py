from claimcheck import unwrap_claim_check
from letsgo_queue import Worker
from orders import OrderNew

worker = Worker()


@worker.handler(OrderNew)
@unwrap_claim_check
def on_order(message: OrderNew) -> None:
    print(f"order {message.payload.order_id} has {len(message.payload.lines)} lines", flush=True)


if __name__ == "__main__":
    worker.run()
