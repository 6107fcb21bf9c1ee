"""The scale-in protection of an ECS task, with an agent of the test's own."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from letsgo_queue import Client, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import scale_in
from letsgo_queue.worker.scale_in import TaskProtection
from tests.letsgo_queue.support import DEADLINE_SECONDS, order, running
from tests.support.forks import fork, threads_are_there
from tests.support.waiting import wait_for

GRANTED = (200, {"protection": {"ProtectionEnabled": True, "TaskArn": "arn:aws:ecs:task"}})
REFUSED = (200, {"failure": {"Reason": "DEPLOYMENT_BLOCKED", "Detail": "it is being replaced"}})
BROKEN = (500, {"error": {"Code": "ServerException", "Message": "the agent is busy"}})


class Agent(ThreadingHTTPServer):
    """The ECS agent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.asked: list[dict[str, Any]] = []
        self.answers = [GRANTED]

    @property
    def protected(self) -> bool:
        return bool(self.asked) and self.asked[-1]["ProtectionEnabled"]


class _Request(BaseHTTPRequestHandler):
    server: Agent

    def do_PUT(self) -> None:
        assert self.path == "/task-protection/v1/state"
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = self.server.answers
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.asked.append(asked)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own name
        """Nothing."""


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    monkeypatch.setattr(scale_in, "LOOK_SECONDS", 0.01)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the agent is not behind it
    with Agent() as agent:
        monkeypatch.setenv("ECS_AGENT_URI", f"http://127.0.0.1:{agent.server_port}")
        thread = threading.Thread(target=agent.serve_forever, args=(0.01,))
        thread.start()
        yield agent
        agent.shutdown()
        thread.join()


def test_a_task_is_protected_while_its_handlers_run(agent: Agent) -> None:
    queue = MemoryTransport()
    worker, begun, go_on = Worker(queue), threading.Event(), threading.Event()

    @worker.default
    def on_message(_: dict[str, Any]) -> None:
        begun.set()
        go_on.wait(DEADLINE_SECONDS)

    with running(worker, protect_from_scale_in=True):
        Client(queue).enqueue(order())
        assert begun.wait(DEADLINE_SECONDS)
        wait_for(lambda: agent.protected, "protection")
        go_on.set()

    assert agent.asked == [
        {"ProtectionEnabled": True, "ExpiresInMinutes": 60},
        {"ProtectionEnabled": False},
    ]


def test_an_idle_task_gives_protection_back(agent: Agent) -> None:
    busy = threading.Event()
    with TaskProtection(idle_seconds=0).held(busy.is_set):
        for _ in range(2):
            busy.set()
            wait_for(lambda: agent.protected, "protection")
            busy.clear()
            wait_for(lambda: not agent.protected, "no protection")
    assert len(agent.asked) == 4


def test_it_asks_again_in_time(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_in, "RENEW_SECONDS", 0.05)
    with TaskProtection().held(lambda: True):
        wait_for(lambda: len(agent.asked) > 2, "two more requests")


@pytest.mark.parametrize("refusal", [REFUSED, BROKEN])
def test_a_refusal_is_logged_and_it_asks_again(
    agent: Agent,
    refusal: tuple[int, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(scale_in, "RETRY_SECONDS", 0.05)
    agent.answers = [refusal, GRANTED]
    with TaskProtection().held(lambda: True):
        wait_for(lambda: len(agent.asked) == 2, "another request")
    (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "this ECS task is not protected from scale-in: " in line
    assert "it is being replaced" in line or "the agent is busy" in line


def test_elsewhere_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ECS_AGENT_URI", raising=False)
    with TaskProtection().held(lambda: True):
        pass
    assert "this is no ECS task" in caplog.text


@threads_are_there
def test_the_last_of_several_processes_gives_it_back(agent: Agent) -> None:
    protection = TaskProtection(2, idle_seconds=0)
    go_on = threading.Event()

    def work(number: int) -> None:
        busy = threading.Event()
        with protection.of_process(number).held(busy.is_set):
            busy.set()
            wait_for(lambda: protection._flags[number], "this process to be busy")

    with protection.of_process(0).held(lambda: not go_on.is_set()):
        wait_for(lambda: agent.protected, "protection")
        (child,) = fork(work)
        child.result()
        assert agent.protected
        assert protection._flags[:] == b"\x01\x00"
        go_on.set()
        wait_for(lambda: not agent.protected, "no protection")
