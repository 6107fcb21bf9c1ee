"""The runbook, and the dashboard and alarms that lead to it, each checked by its own tool."""

from __future__ import annotations

import fnmatch
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from claimcheck import ClaimCheck, ClaimCheckMiddleware
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, LetsGoError, Worker
from letsgo_queue.metrics import PrometheusListener
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import noise
from tests.docs.support import ROOT
from tests.docs.templates import load_yaml, problems_of

MONITORING = ROOT / "docs/monitoring"
RUNBOOK = (ROOT / "docs/how-to/runbook.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs/how-to/errors.md").read_text(encoding="utf-8")
METRIC = re.compile(r"letsgo_queue_[a-z_]+")


def promtool(*arguments: str) -> None:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("no promtool here: on Debian and Ubuntu, `apt install prometheus`")
    done = subprocess.run(
        [path, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def metrics() -> set[str]:
    """The series that a worker has."""
    registry = CollectorRegistry()
    PrometheusListener(registry)
    return {
        f"{family.name}{suffix}"
        for family in registry.collect()
        for suffix in {
            "counter": ["_total"],
            "gauge": [""],
            "histogram": ["_bucket", "_count", "_sum"],
        }[family.type]
    }


def expressions() -> Iterator[str]:
    board = json.loads((MONITORING / "grafana.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_the_rules_are_rules_and_go_off_when_they_should() -> None:
    promtool("check", "rules", "prometheus.rules.yaml")
    promtool("test", "rules", "prometheus.test.yaml")


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    filled = [re.sub(r"\$__rate_interval", "5m", each) for each in expressions()]
    rules = [{"record": f"panel_{number}", "expr": each} for number, each in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    promtool("check", "rules", str(file))


def test_dashboard_and_rules_name_metrics_that_workers_have_and_the_dashboard_all() -> None:
    on_board = {name for each in expressions() for name in METRIC.findall(each)}
    rules = (MONITORING / "prometheus.rules.yaml").read_text()
    in_rules = set(METRIC.findall(re.sub(r"__name__=~[^,]+,", "", rules)))

    assert on_board | in_rules <= metrics()
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metrics()}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in on_board} == families


def test_the_template_is_one() -> None:
    assert problems_of(MONITORING / "cloudwatch.yaml") == []


def test_each_alarm_has_its_part_of_the_runbook() -> None:
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    }
    for name in ("prometheus.rules.yaml", "cloudwatch.yaml"):
        text = (MONITORING / name).read_text()
        assert set(re.findall(r"runbook\.md#([\w-]+)", text)) <= headings
    rules = load_yaml((MONITORING / "prometheus.rules.yaml").read_text())
    alarms = [rule["alert"] for rule in rules["groups"][0]["rules"]]
    template: dict[str, Any] = load_yaml((MONITORING / "cloudwatch.yaml").read_text())
    alarms += [
        name
        for name, each in template["Resources"].items()
        if each["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert [name for name in alarms if f"`{name}`" not in RUNBOOK] == []


def patterns() -> dict[str, list[str]]:
    """What the template looks for in log lines, by the alarm."""
    template: dict[str, Any] = load_yaml((MONITORING / "cloudwatch.yaml").read_text())
    return {
        name.removesuffix("Filter"): re.findall(
            r'\.message = "([^"]+)"', each["Properties"]["FilterPattern"]
        )
        for name, each in template["Resources"].items()
        if each["Type"] == "AWS::Logs::MetricFilter"
    }


def test_log_lines_are_as_the_alarms_look_for_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    queue, store = MemoryTransport(), MemoryClaimStore()
    check = ClaimCheck(store, inline_limit=1_000, threshold=1_000)
    sender = Client(queue, middleware=[ClaimCheckMiddleware(check)])
    empty = ClaimCheck(MemoryClaimStore(), inline_limit=1_000, threshold=1_000)
    worker = Worker(queue, middleware=[ClaimCheckMiddleware(empty)], wait_seconds=0)
    worker.default(lambda message: None)
    sender.enqueue({"type": "any", "payload": noise(5_000)})

    worker.run(burst=True)

    lines = [record.getMessage() for record in caplog.records]
    lost = patterns()["ClaimsLost"]
    assert any(fnmatch.fnmatch(line, pattern) for line in lines for pattern in lost)
    (waits,) = patterns()["LeaseWaits"]
    shown = "message 1 waits 3.0 s in the worker: message 1 is being handled by another delivery."
    assert fnmatch.fnmatch(shown, waits)


def test_each_error_is_told_of() -> None:
    def tree(kind: type[LetsGoError]) -> Iterator[type[LetsGoError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from tree(each)

    names = {
        each.__name__
        for each in tree(LetsGoError)
        if each.__module__.endswith(".errors") and not each.__subclasses__()
    }
    assert sorted(name for name in names if name not in ERRORS + RUNBOOK) == []
