from claimcheck import enqueue
from orders import Order, OrderNew

order = Order(order_id="42", lines=[{"sku": f"A-{n}", "note": "gift"} for n in range(10_000)])
result = enqueue(OrderNew(payload=order))
print(result.route, result.size, result.sent_size)

enqueue({"type": "order:new", "payload": {"order_id": "43", "lines": []}}, delay_seconds=2)
