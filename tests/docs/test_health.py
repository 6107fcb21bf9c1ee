"""The how-to on health, metrics and logs: its files and commands, as a reader would run them."""

from __future__ import annotations

import json
import shlex
import socket
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from letsgo_queue.log import LogFields
from letsgo_queue.metrics import PrometheusListener
from letsgo_queue.worker.health import LoopState
from tests.docs.support import ROOT, Reader, blocks, commands, write_blocks
from tests.docs.templates import load_yaml
from tests.support.waiting import wait_for

PAGE = "docs/how-to/health.md"
WITH_PORT, WITH_FILE, IS_WELL = commands(PAGE)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks(PAGE, tmp_path) == {"shop.py", "web.py", "tenants.py"}
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


@pytest.fixture
def port() -> int:
    """A port that is free, in place of the page's."""
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


def get(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("command", [WITH_PORT, "python shop.py"], ids=["command", "code"])
def test_probes(reader: Reader, port: int, command: str) -> None:
    (ecs,) = [block for block in blocks(PAGE, "json") if "healthCheck" in block]
    kind, check = json.loads(ecs)["healthCheck"]["command"]
    assert kind == "CMD-SHELL"
    shop = reader.folder / "shop.py"
    shop.write_text(shop.read_text().replace("8080", str(port)))

    with reader.leave_running(command.replace("8080", str(port))) as log:
        wait_for(lambda: f"0.0.0.0:{port}" in log.read_text() or "python" in command, "the server")
        wait_for(lambda: "last_poll" in answer_of(port, "/readyz"), "the worker to be ready")

        reader.type(check.replace("8080", str(port)))
        answer = json.loads(get(port, "/healthz"))
        reader.type('letsgo-queue enqueue --type order:new --payload \'{"order_id": "42"}\'')
        wait_for(lambda: "order 42" in log.read_text(), "the order")
        wait_for(lambda: deliveries(port) == {"handled"}, "the metrics")

    (shown,) = [json.loads(block) for block in blocks(PAGE, "json") if "loops" in block]
    assert answer.keys() == shown.keys()
    assert answer["loops"][0].keys() == shown["loops"][0].keys() == set(LoopState.__slots__)
    with pytest.raises(OSError, match="refused"):
        get(port, "/healthz")


def answer_of(port: int, path: str) -> str:
    """The answer, once it is 200; nothing before."""
    try:
        return get(port, path)
    except OSError:
        return ""


def deliveries(port: int) -> set[str]:
    families = text_string_to_metric_families(get(port, "/metrics"))
    return {
        sample.labels["outcome"]
        for family in families
        for sample in family.samples
        if sample.name == "letsgo_queue_deliveries_total" and sample.labels["type"] == "order:new"
    }


def test_the_file(reader: Reader) -> None:
    file = str(reader.folder / "well")
    named = shlex.split(WITH_FILE)[-1]
    with reader.leave_running(WITH_FILE.replace(named, file)):
        wait_for(lambda: Path(file).exists(), "the file")
        reader.type(IS_WELL.replace(named, file))
    reader.type(f"touch -d '2 minutes ago' {file}")
    reader.type(IS_WELL.replace(named, file), code=1)


def test_a_sender_counts(reader: Reader) -> None:
    assert reader.type("python web.py") == (
        'letsgo_queue_sent_total{queue="work.db",route="inline",type="order:new"} 1.0\n'
    )


def test_context_variables(reader: Reader) -> None:
    assert reader.type("python tenants.py") == "eu after none\n" * 2


def test_what_is_to_be_pasted_is_yaml() -> None:
    probes, scraping = map(load_yaml, blocks(PAGE, "yaml"))
    assert {probes[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")} == {
        "/healthz",
        "/readyz",
    }
    assert scraping["scrape_configs"][0]["static_configs"][0]["targets"][0].endswith(":8080")


def test_the_tables_name_what_there_is() -> None:
    registry = CollectorRegistry()
    PrometheusListener(registry)
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for family in registry.collect():
        kind = "_total" if family.type == "counter" else ""
        assert f"`{family.name.removeprefix('letsgo_queue_')}{kind}`" in text
    for field in LogFields.__annotations__:
        assert f"| `{field}` |" in text
