"""docs/infrastructure/container: what image and compose file run, run here in plain processes.

There is no container engine in the tests. So the image itself is not built; `make infrastructure`
has hadolint read its file, and compares compose.yaml with the Compose specification.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from letsgo_queue import Client
from letsgo_queue.worker.options import DEFAULT_DRAIN_SECONDS
from tests.docs.infrastructure.support import INFRASTRUCTURE, free_port, in_process, tool
from tests.docs.support import ROOT, install_commands, write_blocks
from tests.docs.templates import load_yaml
from tests.support.servers import AwsServer

FOLDER = INFRASTRUCTURE / "container"
SECONDS = 60


def instructions() -> list[tuple[str, str]]:
    """The instructions of the image's file, and what follows each."""
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text())
    lines = re.sub(r"\\\n\s*", " ", text).split("\n")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name]


def instruction(name: str) -> str:
    (found,) = [rest for each, rest in instructions() if each == name]
    return found


def in_exec_form(text: str) -> list[str]:
    command: list[str] = json.loads(text)
    return command


def moved(command: Sequence[str], *, port: int) -> list[str]:
    """A command on another port than an image's own."""
    return [each.replace("8080", str(port)) for each in command]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The image's working directory, and its commands on the path."""
    folder = tmp_path / "app"
    folder.mkdir()
    for path in (FOLDER / "app").glob("*.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    install_commands(tmp_path / "bin")
    return folder


def environment(app: Path, settings: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join((str(app.parent / "bin"), os.environ["PATH"]))
    return {**os.environ, **settings, "PATH": path}


@contextmanager
def running(
    command: Sequence[str], port: int, app: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """The worker of the image, which does not outlive a failure."""
    with subprocess.Popen(
        moved(in_process(command), port=port),
        cwd=app,
        env=environment(app, settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_app_is_that_of_the_readme(tmp_path: Path) -> None:
    write_blocks("README.md", tmp_path)
    for path in (FOLDER / "app").glob("*.py"):
        assert path.read_text() == (tmp_path / path.name).read_text()


def test_the_worker_of_the_image_is_well_and_ends_when_it_is_told_to(app: Path) -> None:
    """Entrypoint and health check are run as the image has them, but for the port."""
    settings = {"LETSGO_QUEUE_URL": f"sqlite:///{app}/work.db"}
    port = free_port()
    command = [*in_exec_form(instruction("ENTRYPOINT")), *in_exec_form(instruction("CMD"))]
    check = in_exec_form(instruction("HEALTHCHECK").partition("CMD ")[2])
    health = moved(in_process(check), port=port)
    client = Client(settings["LETSGO_QUEUE_URL"])
    client.enqueue({"type": "order:new", "payload": {"order_id": "1", "lines": []}})
    client.close()

    assert subprocess.run(health, check=False, stderr=subprocess.DEVNULL).returncode == 1
    with running(command, port, app, settings) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "order 1 has 0 lines\n"
        assert subprocess.run(health, check=False).returncode == 0
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"letsgo_queue_deliveries_total" in answer.read()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(SECONDS) == 0
        assert worker.stderr is not None
        assert [json.loads(line) for line in worker.stderr]


def test_the_image_is_small_and_not_root() -> None:
    assert instruction("FROM") == "python:3.13-slim"
    assert int(instruction("USER")) > 0
    assert f"--uid {instruction('USER')}" in dict(instructions())["RUN"]
    assert [name for name, _ in instructions()].count("COPY") == 1
    ignored = (FOLDER / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for each in ("app", "requirements.txt", "wheels"):
        assert f"!{each}" in ignored
        assert each in (FOLDER / "Dockerfile").read_text()
    extras = re.search(r"letsgo-claimcheck\[(.*)\]", (FOLDER / "requirements.txt").read_text())
    assert extras
    known = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in known for extra in extras[1].split(","))


def compose() -> dict[str, Any]:
    found: dict[str, Any] = load_yaml((FOLDER / "compose.yaml").read_text())
    for service in found["services"].values():
        service.update({**service.pop("<<", {}), **service})
    return found


@pytest.fixture
def services(ministack: AwsServer) -> Iterator[dict[str, Any]]:
    """The services, with the MiniStack of the tests in the place of `aws`."""
    text = json.dumps(compose()["services"]).replace("http://aws:4566", str(ministack.endpoint_url))
    found: dict[str, Any] = json.loads(text)
    yield found
    region = found["setup"]["environment"]["AWS_REGION"]
    there = AwsServer("ministack", ministack.endpoint_url, region)
    sqs = there.sqs()
    for name in ("orders", "orders-dead-letters"):
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
    there.dynamodb().delete_table(TableName="letsgo-claims")


def test_compose_runs_the_example_of_the_readme(services: dict[str, Any], app: Path) -> None:
    for name in ("setup", "send"):
        service = services[name]
        subprocess.run(
            [*service["entrypoint"], *service["command"]],
            cwd=app,
            env=environment(app, service["environment"]),
            check=True,
            capture_output=True,
        )
    worker = services["worker"]
    command = [*in_exec_form(instruction("ENTRYPOINT")), *in_exec_form(instruction("CMD"))]
    with running(command, free_port(), app, worker["environment"]) as process:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()  # in any order
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert "order 42 has 10000 lines" in said
    assert "order 43 has 0 lines" in said


def test_services_wait_for_each_other_and_are_stopped_in_time() -> None:
    services = compose()["services"]
    assert services["setup"]["depends_on"] == {"aws": {"condition": "service_healthy"}}
    for name in ("send", "worker"):
        assert services[name]["depends_on"] == {
            "setup": {"condition": "service_completed_successfully"}
        }
    grace = float(services["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > DEFAULT_DRAIN_SECONDS
    assert f"--timeout {grace:.0f} " in (FOLDER / "Dockerfile").read_text()
    assert f"drain time of {DEFAULT_DRAIN_SECONDS:.0f}." in re.sub(
        r"\n# ", " ", (FOLDER / "Dockerfile").read_text()
    )
    version = re.search(r"MINISTACK_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert version
    assert f"ministack=={version[1]} " in " ".join(services["aws"]["command"])


def test_ministack_is_healthy_by_the_check_of_the_compose_file(ministack: AwsServer) -> None:
    kind, *command = compose()["services"]["aws"]["healthcheck"]["test"]
    assert kind == "CMD"
    here = [
        each.replace("http://127.0.0.1:4566", str(ministack.endpoint_url))
        for each in in_process(command)
    ]
    assert subprocess.run(here, check=False).returncode == 0


def test_hadolint_has_nothing_to_say() -> None:
    path = tool("hadolint")
    if path is None:
        pytest.skip("`make infrastructure` installs hadolint")
    done = subprocess.run(
        [path, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_follows_the_specification() -> None:
    python = tool("python")
    if python is None:
        pytest.skip("`make infrastructure` installs the specification")
    code = "import sys, compose_spec; compose_spec.PyCompose.from_json(sys.stdin.read()).validate()"
    done = subprocess.run(
        [python, "-c", code],
        input=json.dumps(compose()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
