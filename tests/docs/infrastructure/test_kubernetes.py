"""docs/infrastructure/kubernetes: manifests whose commands run here, checked against schemas."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client
from letsgo_queue.worker.processes import ENDING_SECONDS
from tests.docs.infrastructure.support import INFRASTRUCTURE, free_port, in_process, option, tool
from tests.docs.templates import load_yaml

FOLDER = INFRASTRUCTURE / "kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
OLDEST = "1.31"
"""The oldest version of Kubernetes that is checked; the newest is what the schemas have."""


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load_yaml((FOLDER / f"{name}.yaml").read_text())
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    found: dict[str, Any] = read("deployment")["spec"]["template"]["spec"]
    return found


def test_the_command_handles_messages(pod: dict[str, Any], tmp_path: Path) -> None:
    (container,) = pod["containers"]
    for path in (INFRASTRUCTURE / "container/app").glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    client = Client(f"sqlite:///{tmp_path}/work.db")
    client.enqueue({"type": "order:new", "payload": {"order_id": "1", "lines": []}})
    client.close()

    done = subprocess.run(
        [
            *in_process([*container["command"], *container["args"], "--burst"]),
            *("--health-port", str(free_port())),
        ],
        cwd=tmp_path,
        env={"LETSGO_QUEUE_URL": f"sqlite:///{tmp_path}/work.db", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "order 1 has 0 lines\n"), done.stderr


def test_the_pod_has_the_time_the_memory_and_the_user_that_it_needs(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    drain = option(container["args"], "--drain-timeout")
    assert drain + ENDING_SECONDS < pod["terminationGracePeriodSeconds"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert option(container["args"], "--max-memory") * 1_000_000 < 0.9 * 2**30
    dockerfile = (INFRASTRUCTURE / "container/Dockerfile").read_text()
    assert f"\nUSER {pod['securityContext']['runAsUser']}\n" in dockerfile
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_probes_ask_the_port_of_the_worker(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert option(container["args"], "--health-port") == port["containerPort"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


def test_the_files_name_each_other(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    name = read("deployment")["metadata"]["name"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": read("settings")["metadata"]["name"]}}
    ]
    assert pod["serviceAccountName"] == read("service-account")["metadata"]["name"]
    labels = read("deployment")["spec"]["template"]["metadata"]["labels"]
    assert read("deployment")["spec"]["selector"]["matchLabels"] == labels
    assert read("disruption-budget")["spec"]["selector"]["matchLabels"] == labels
    scaling = read("keda/scaling")["spec"]
    assert scaling["scaleTargetRef"]["name"] == name
    (trigger,) = scaling["triggers"]
    data = read("settings")["data"]
    assert trigger["metadata"]["queueURLFromEnv"] in data
    assert trigger["metadata"]["awsRegion"] == data["AWS_REGION"]


@pytest.mark.parametrize("version", [OLDEST, None], ids=[OLDEST, "newest"])
def test_kubernetes_knows_all_of_it(version: str | None) -> None:
    path = tool("kubernetes-validate")
    if path is None:
        pytest.skip("`make infrastructure` installs the schemas")
    options = ["--strict"] if version is None else ["--strict", "-k", version]
    done = subprocess.run([path, *options, *MANIFESTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r" passed ", done.stdout + done.stderr)) == len(MANIFESTS)
