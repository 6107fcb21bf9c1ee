"""docs/examples/powertools_batch: a batch of orders, received as Lambda does."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType
from typing import cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from claimcheck import enqueue_many
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import set_default_client
from tests.docs.support import ROOT
from tests.letsgo_queue.aws_lambda.lambda_events import Context, delete_handled, receive_event
from tests.support.servers import AwsServer

HANDLER = ROOT / "docs/examples/powertools_batch/handler.py"

LARGE = [{"sku": f"A-{n}", "note": "gift"} for n in range(20_000)]


class FullContext(Context):
    """With what Powertools' logger adds to its lines."""

    function_name = "orders"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-west-2:123456789012:function:orders"
    aws_request_id = "52fdfc07-2182-154f-163f-5f0f9a621d72"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function's module, imported anew: a Lambda reads its environment when it starts."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "orders")
    spec = importlib.util.spec_from_file_location("powertools_batch_handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_orders_of_any_size_are_handled(
    ministack: AwsServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    example: ModuleType,
) -> None:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    url = ministack.make_queue()
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")  # so that a large order is stored
    set_default_client(None)
    orders = {"42": LARGE, "43": LARGE[:1], "44": []}
    enqueue_many(
        {"type": "order:new", "payload": {"order_id": order_id, "lines": lines}}
        for order_id, lines in orders.items()
    )
    set_default_client(None)

    event = receive_event(ministack, url)
    assert len(event["Records"]) == 3
    assert ministack.dynamodb().scan(TableName=table)["Count"] == 1  # the contents
    context = cast("LambdaContext", FullContext())
    (left,) = delete_handled(ministack, url, event, example.handler(event, context))

    assert sorted(said.message for said in caplog.records if said.name == "orders") == [
        "order 42 has 20000 lines",
        "order 43 has 1 lines",
    ]
    (bad,) = [r for r in event["Records"] if json.loads(r["body"]).get("payload") == payload("44")]
    assert left == bad["messageId"]
    (receipt,) = ministack.dynamodb().scan(TableName=table)["Items"]
    assert receipt["state"] == {"S": "done"}


def payload(order_id: str) -> dict[str, object]:
    return {"order_id": order_id, "lines": []}
