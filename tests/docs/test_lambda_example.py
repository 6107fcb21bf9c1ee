"""docs/examples/lambda_sam: its template is valid, and its function works with what that makes."""

from __future__ import annotations

import importlib.util
import json
import logging
from types import ModuleType
from typing import Any

import pytest

from claimcheck import enqueue
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client, set_default_client
from letsgo_queue.admin.letters import dead_letter
from tests.docs.pytest_runs import passed_tests
from tests.docs.support import ROOT
from tests.docs.templates import load_template, problems_of
from tests.letsgo_queue.aws_lambda.lambda_events import (
    SCHEDULED,
    Context,
    delete_handled,
    receive_event,
)
from tests.letsgo_queue.support import receive_one
from tests.support.servers import AwsServer

FOLDER = ROOT / "docs/examples/lambda_sam"
TEMPLATE = FOLDER / "template.yaml"


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = load_template(TEMPLATE)["Resources"]
    return found


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The function's module, imported anew: a Lambda reads its environment when it starts."""
    spec = importlib.util.spec_from_file_location("lambda_sam_app", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)
    spec.loader.exec_module(module)
    return module


def test_its_own_tests() -> None:
    assert passed_tests(FOLDER) == 3


def test_the_template_is_valid() -> None:
    assert problems_of(TEMPLATE, regions=["eu-west-1", "us-east-1"]) == []


def test_what_the_settings_of_the_template_must_be(resources: dict[str, Any]) -> None:
    queue, worker = resources["Orders"]["Properties"], resources["Worker"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * worker["Timeout"]
    source = worker["Events"]["Orders"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_orders_of_any_size_are_handled(
    ministack: AwsServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    resources: dict[str, Any],
    app: ModuleType,
) -> None:
    url, dead_url, table = make(ministack, resources)
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")  # so that a large order is stored
    set_default_client(None)
    lines = [{"sku": f"A-{n}", "note": "gift"} for n in range(20_000)]
    for order_id, its_lines in (("42", lines), ("43", lines[:1]), ("44", [])):
        enqueue({"type": "order:new", "payload": {"order_id": order_id, "lines": its_lines}})
    set_default_client(None)
    assert ministack.dynamodb().scan(TableName=table)["Count"] == 1  # the contents

    with caplog.at_level(logging.INFO, "lambda_sam_app"):
        event = receive_event(ministack, url)
        assert delete_handled(ministack, url, event, app.handler(event, Context())) == []
    assert app.handler(SCHEDULED, Context()) is None

    said = [record.message for record in caplog.records if record.name == "lambda_sam_app"]
    assert sorted(said[:2]) == ["order 42 has 20000 lines", "order 43 has 1 lines"]
    dead = receive_one(Client(dead_url).transport())
    assert dead_letter(dead).reason == "an order without lines"
    (receipt,) = ministack.dynamodb().scan(TableName=table)["Items"]
    assert receipt["state"] == {"S": "done"}


def make(aws: AwsServer, resources: dict[str, Any]) -> tuple[str, str, str]:
    """Make the queues and the table that the template describes."""
    dead_url = aws.make_queue(**texts(resources["DeadLetters"]["Properties"]))
    arn = aws.sqs().get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    queue = dict(resources["Orders"]["Properties"])
    policy = {
        **queue.pop("RedrivePolicy"),
        "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
    }
    url = aws.make_queue(**texts(queue), RedrivePolicy=json.dumps(policy))
    table = aws.make_table_name()
    claims = dict(resources["Claims"]["Properties"])
    ttl = claims.pop("TimeToLiveSpecification")
    aws.dynamodb().create_table(TableName=table, **plain(claims))
    aws.dynamodb().update_time_to_live(TableName=table, TimeToLiveSpecification=plain(ttl))
    findings = ClaimTable(table, region=aws.region).check()
    assert [finding.detail for finding in findings if not finding.ok] == []
    return url, dead_url, table


def texts(properties: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in properties.items()}


def plain(properties: Any) -> Any:
    """Without the marks of where each value is in the file."""
    return json.loads(json.dumps(properties))
