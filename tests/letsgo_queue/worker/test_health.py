"""Whether a worker is well: asked over HTTP, and by a file."""

from __future__ import annotations

import builtins
import json
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from email.message import Message as Headers
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import prometheus_client
import pytest

from letsgo_queue import Client, Health, QueueUnavailable, SettingsInvalid, Worker, events
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import health, loop
from letsgo_queue.worker.health import LoopState, watched
from letsgo_queue.worker.threads import HandlerThreads
from tests.letsgo_queue.support import DEADLINE_SECONDS, HangingQueue, PassingTime, order
from tests.support.waiting import wait_for

WELL = LoopState(
    queue="memory://",
    stopping=False,
    turned=0.1,
    last_poll=1.0,
    poll_overdue=0.0,
    last_acknowledgement=None,
    in_hand=0,
    running=0,
    longest=None,
    over_time=(),
)


@pytest.fixture(autouse=True)
def own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry, and listeners, that end with the test."""
    monkeypatch.setattr(events._process, "listeners", ())
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())


def get(url: str) -> tuple[int, Headers, str]:
    """Ask, and give status, headers and body."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers, refusal.read().decode()


def connect(url: str) -> socket.socket:
    """A client that says nothing yet."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_SECONDS)


@contextmanager
def asked(worker: Worker, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Run a worker, and give the address where it tells whether it is well."""
    caplog.set_level("INFO")
    running = threading.Thread(
        target=lambda: worker.run(health=Health(port=0, host="127.0.0.1")), daemon=True
    )
    running.start()
    try:
        (url,) = wait_for(
            lambda: re.findall(r"health checks are answered on (http://\S+)", caplog.text),
            "the server",
        )
        yield url
    finally:
        worker.stop()
        running.join(DEADLINE_SECONDS)
        assert not running.is_alive(), "the worker did not stop"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=DEADLINE_SECONDS)


class Silent(MemoryTransport):
    """A queue that does not answer until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        if not self.answers.is_set():
            raise QueueUnavailable("it does not answer")
        return super().receive(**options)


class TestAWorker:
    def test_is_well_before_its_queue_answers_and_ready_after_that(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.01)
        monkeypatch.setattr(loop, "MAX_PAUSE_SECONDS", 0.01)
        queue = Silent()
        with asked(Worker(queue, wait_seconds=0), caplog) as url:
            assert get(f"{url}/healthz")[0] == 200
            status, _, body = get(f"{url}/readyz")
            assert status == 503
            assert json.loads(body)["loops"][0]["last_poll"] is None

            queue.answers.set()
            wait_for(lambda: get(f"{url}/readyz")[0] == 200, "the worker to be ready")

    def test_tells_what_it_does_and_is_not_ready_while_it_stops(
        self, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(queue)
        begun, go_on = threading.Event(), threading.Event()

        @worker.handler("order:new")
        def take_long(message: dict[str, Any]) -> None:
            begun.set()
            assert go_on.wait(DEADLINE_SECONDS)

        worker.handler("quick")(lambda message: None)
        Client(queue).enqueue({"type": "quick", "payload": None})
        sent = Client(queue).enqueue(order())
        with asked(worker, caplog) as url:

            def loop_now() -> dict[str, Any]:
                (state,) = json.loads(get(f"{url}/healthz")[2])["loops"]
                return dict(state)

            assert begun.wait(DEADLINE_SECONDS)
            wait_for(lambda: loop_now()["last_acknowledgement"], "the quick one to be acknowledged")
            state = loop_now()
            assert (state["queue"], state["in_hand"], state["running"]) == ("memory://", 1, 1)
            assert state["longest"]["message_id"] == sent.message_id
            assert state["longest"]["type"] == "order:new"
            assert state["over_time"] == []
            assert state["last_poll"] >= 0

            worker.stop()
            status, _, body = get(f"{url}/readyz")
            assert (status, json.loads(body)["loops"][0]["stopping"]) == (503, True)
            assert get(f"{url}/healthz")[0] == 200
            go_on.set()

    def test_is_not_well_once_its_loop_is_stuck(
        self,
        queue: MemoryTransport,
        caplog: pytest.LogCaptureFixture,
        time_passes: PassingTime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stuck, go_on = threading.Event(), threading.Event()
        help_threads = HandlerThreads.help

        def hang(self: HandlerThreads) -> float | None:
            stuck.set()
            assert go_on.wait(DEADLINE_SECONDS)
            return help_threads(self)

        monkeypatch.setattr(HandlerThreads, "help", hang)
        try:
            with asked(Worker(queue, wait_seconds=0), caplog) as url:
                assert stuck.wait(DEADLINE_SECONDS)
                time_passes(health.STALE_SECONDS - 10)
                assert get(f"{url}/healthz")[0] == 200
                time_passes(11)
                assert get(f"{url}/healthz")[0] == 503
                assert get(f"{url}/readyz")[0] == 503
                go_on.set()
                wait_for(lambda: get(f"{url}/healthz")[0] == 200, "the loop to turn again")
        finally:
            go_on.set()

    def test_is_not_well_once_a_request_hangs(
        self, caplog: pytest.LogCaptureFixture, time_passes: PassingTime
    ) -> None:
        queue = HangingQueue()
        try:
            with asked(Worker(queue, wait_seconds=20), caplog) as url:
                assert queue.asked.wait(DEADLINE_SECONDS)
                time_passes(20 + health.OVERDUE_SECONDS - 10)
                wait_for(lambda: get(f"{url}/healthz")[0] == 200, "the loop to turn")
                time_passes(11)
                status, _, body = get(f"{url}/healthz")
                assert status == 503
                assert json.loads(body)["loops"][0]["poll_overdue"] > health.OVERDUE_SECONDS
                queue.may_answer.set()
                wait_for(lambda: get(f"{url}/healthz")[0] == 200, "the answer")
        finally:
            queue.may_answer.set()

    def test_names_a_handler_that_its_message_cannot_wait_for(
        self, queue: MemoryTransport, caplog: pytest.LogCaptureFixture, time_passes: PassingTime
    ) -> None:
        worker = Worker(queue, visibility_timeout=43_200)
        begun, go_on = threading.Event(), threading.Event()

        @worker.handler("order:new")
        def take_long(message: dict[str, Any]) -> None:
            begun.set()
            assert go_on.wait(DEADLINE_SECONDS)

        sent = Client(queue).enqueue(order())
        try:
            with asked(worker, caplog) as url:
                assert begun.wait(DEADLINE_SECONDS)
                time_passes(43_200)
                (late, *_) = json.loads(get(f"{url}/healthz")[2])["loops"][0]["over_time"]
                assert late["message_id"] == sent.message_id
                assert late["seconds"] >= 43_200
                go_on.set()
        finally:
            go_on.set()


class TestServer:
    @pytest.fixture
    def url(self) -> Iterator[str]:
        with watched(Health(port=0, host="127.0.0.1"), lambda: [WELL]) as url:
            assert url is not None
            yield url

    def test_answers_probes_that_ask_for_the_head_only(self, url: str) -> None:
        with closing(connect(url)) as client:
            client.sendall(b"HEAD /healthz HTTP/1.0\r\n\r\n")
            head, body = b"".join(iter(partial(client.recv, 4096), b"")).split(b"\r\n\r\n")
        assert b" 200 OK\r\n" in head
        assert b"Content-Type: application/json\r\n" in head
        assert body == b""

    def test_answers_in_the_metrics_format(self, url: str) -> None:
        status, headers, body = get(f"{url}/metrics?x=1")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=")
        assert "letsgo_queue_deliveries" in body

    def test_says_which_extra_the_metrics_need(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        without(monkeypatch, "prometheus_client")
        status, _, body = get(f"{url}/metrics")
        assert status == 404
        assert "pip install 'letsgo-claimcheck[metrics]'" in body

    @pytest.mark.parametrize("path", ["/", "/healthz/x", "/../etc/passwd"])
    def test_knows_no_other_paths(self, url: str, path: str) -> None:
        status, _, body = get(url + path)
        assert (status, body) == (404, health.PATHS)

    def test_a_client_that_hangs_keeps_nobody_waiting(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health._Request, "timeout", None)
        with closing(connect(url)) as hanging, closing(connect(url)):
            hanging.sendall(b"GET /healthz HTT")
            assert get(f"{url}/healthz")[0] == 200

    def test_gives_a_client_that_hangs_up(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert health._Request.timeout == health.CLIENT_SECONDS
        monkeypatch.setattr(health._Request, "timeout", 0.1)
        with closing(connect(url)) as hanging:
            hanging.sendall(b"GET /healthz HTT")
            assert hanging.recv(1) == b""

    def test_slow_clients_keep_nobody_out_and_are_few(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health._Request, "timeout", None)
        with ExitStack() as stack:
            slow = [stack.enter_context(closing(connect(url))) for _ in range(100)]
            assert get(f"{url}/healthz")[0] == 200
            for client in slow[: 101 - health.MAX_CLIENTS]:
                assert client.recv(1) == b""
            slow[-1].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert slow[-1].recv(12) == b"HTTP/1.0 200"

    def test_asks_every_loop(self) -> None:
        states = [WELL, LoopState(**{**fields(WELL), "turned": 31.0})]
        with watched(Health(port=0, host="127.0.0.1"), lambda: states) as url:
            status, _, body = get(f"{url}/healthz")
        assert status == 503
        assert [each["turned"] for each in json.loads(body)["loops"]] == [0.1, 31.0]

    def test_listens_on_ipv6(self) -> None:
        with watched(Health(port=0, host="::1"), lambda: [WELL]) as url:
            assert url is not None
            assert url.startswith("http://[::1]:")
            assert get(f"{url}/healthz")[0] == 200

    def test_a_port_in_use_is_a_mistake(self, url: str, queue: MemoryTransport) -> None:
        port = int(url.rpartition(":")[2])
        with pytest.raises(SettingsInvalid, match=f"127.0.0.1:{port}.*choose another port"):
            Worker(queue).run(burst=True, health=Health(port=port, host="127.0.0.1"))


class TestFile:
    def test_is_touched_while_the_worker_is_well(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "TOUCH_SECONDS", 0.01)
        file = tmp_path / "well"
        states = [WELL]
        looked = threading.Semaphore(0)

        def look() -> Sequence[LoopState]:
            looked.release()
            return states

        with watched(Health(file=file), look):
            os.utime(file, (0, 0))
            wait_for(lambda: file.stat().st_mtime, "the file to be touched")

            states[:] = [LoopState(**{**fields(WELL), "turned": 31.0})]
            for _ in range(2):  # the first may have looked before
                while looked.acquire(blocking=False):
                    pass
                assert looked.acquire(timeout=DEADLINE_SECONDS)
            os.utime(file, (0, 0))
            for _ in range(2):
                assert looked.acquire(timeout=DEADLINE_SECONDS)
            assert file.stat().st_mtime == 0

    def test_that_cannot_be_made_is_a_mistake(self, tmp_path: Path, queue: MemoryTransport) -> None:
        with pytest.raises(SettingsInvalid, match="missing/well cannot be touched"):
            Worker(queue).run(burst=True, health=Health(file=tmp_path / "missing" / "well"))

    def test_that_can_no_longer_be_touched_is_said_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(health, "TOUCH_SECONDS", 0.01)
        folder = tmp_path / "folder"
        folder.mkdir()
        file = folder / "well"
        looks: list[None] = []

        def look() -> Sequence[LoopState]:
            looks.append(None)
            return [WELL]

        with watched(Health(file=file), look):
            file.unlink()
            folder.rename(tmp_path / "elsewhere")
            wait_for(lambda: "cannot be touched" in caplog.text, "the warning")
            count = len(looks)
            wait_for(lambda: len(looks) > count + 3, "more attempts")
        assert caplog.text.count("cannot be touched") == 1


def test_each_process_has_a_port_and_a_file_of_its_own() -> None:
    own = Health(port=8080, file=Path("/run/well"))
    assert own.of_process(0) == own
    assert own.of_process(2) == Health(port=8082, file=Path("/run/well.2"))
    assert Health(port=0).of_process(1) == Health(port=0)
    assert Health().of_process(1) == Health()


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be(port: int) -> None:
    with pytest.raises(SettingsInvalid, match="65,535"):
        Health(port=port)


def fields(state: LoopState) -> dict[str, Any]:
    return {name: getattr(state, name) for name in LoopState.__slots__}


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Have imports fail as they do where a package is not installed."""
    real: Callable[..., object] = builtins.__import__

    def fake(name: str, *arguments: Any, **options: Any) -> object:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fake)
