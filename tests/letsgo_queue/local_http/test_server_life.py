"""How a worker in LetsGo's local mode starts, where it listens, and how it stops."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from letsgo_queue import Client, Middleware, SettingsInvalid, Steps, Worker
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.signals import STOP_SIGNALS
from tests.letsgo_queue.local_http.letsgo import posted_by_letsgo
from tests.letsgo_queue.local_http.support import ask, collecting, listens
from tests.letsgo_queue.support import DEADLINE_SECONDS, order, serving
from tests.support.waiting import wait_for

SCRIPT = Path(__file__).with_name("serving_worker.py")


def test_middleware_is_prepared_and_runs() -> None:
    steps: list[str] = []

    class Noting(Middleware):
        def prepare(self, queue: str) -> None:
            steps.append(f"prepared for {queue}")

        def handle(self, message: IncomingMessage, /) -> Steps:
            steps.append("before")
            yield
            steps.append("after")

    worker, handled = collecting(middleware=[Noting()])
    with serving(worker) as url:
        assert steps == [f"prepared for {url}"]
        Client(url).enqueue(order())
        wait_for(lambda: steps[-1] == "after", "the message")

    assert steps == [f"prepared for {url}", "before", "after"]
    assert len(handled) == 1


def test_limits_that_do_not_hold_in_local_mode_are_told(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()

    @worker.handler("limited", rate="1/h")
    def limited(message: object) -> None: ...

    with serving(worker):
        pass

    [told] = [each for each in caplog.messages if "do not hold" in each]
    assert told.endswith(".limited: concurrency, rate and timeout do not hold in local mode.")


def test_middleware_that_refuses_stops_the_worker_and_frees_the_port() -> None:
    addresses: list[str] = []

    class Refusing(Middleware):
        def prepare(self, queue: str) -> None:
            addresses.append(queue)
            raise SettingsInvalid("no store")

    with pytest.raises(SettingsInvalid, match="no store"):
        Worker(middleware=[Refusing()]).serve(port=0)

    port = urlsplit(addresses[0]).port
    with socket.create_server(("127.0.0.1", port or 0)):
        pass


def test_a_mistake_in_a_handler_shows_before_it_listens() -> None:
    worker = Worker()

    @worker.handler("order:new")
    def on_order(message: threading.Event) -> None: ...

    with pytest.raises(SettingsInvalid, match="on_order"):
        worker.serve(port=0)


def test_without_h11_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith("letsgo_queue.local_http.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "h11", None)

    with pytest.raises(SettingsInvalid, match=r"needs h11: .*'letsgo-claimcheck\[local\]'"):
        Worker().serve(port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_says_where_it_listens(host: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker, _ = collecting()
    told: list[str] = []

    def on_ready(url: str) -> None:
        told.append(url)
        worker.stop()

    worker.serve(host=host, port=0, on_ready=on_ready)

    (url,) = told
    assert urlsplit(url).port
    assert f"worker running on {url}" in caplog.text


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1:{port}"):
            Worker().serve(port=port)
    gc.collect()  # what was left open would be told now


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": -1}, "port=-1"),
        ({"port": 65_536}, "port=65536"),
        ({"host": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid"),
    ],
)
def test_refuses_where_one_cannot_listen(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        Worker().serve(**options)


def test_can_be_stopped_before_it_starts_and_then_used_again() -> None:
    worker, handled = collecting()
    worker.stop()
    worker.serve(port=0)

    with serving(worker) as url:
        Client(url).enqueue(order())
        wait_for(lambda: handled, "the message")


def test_finishes_what_was_accepted_when_it_is_stopped() -> None:
    worker = Worker(concurrency=1)
    begun = threading.Event()
    go_on = threading.Event()
    handled: list[int] = []

    @worker.default
    def wait(message: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(DEADLINE_SECONDS)
        handled.append(message["payload"]["number"])

    with serving(worker) as url:
        ask(url, posted_by_letsgo(*(order(number=n) for n in range(3))))
        assert begun.wait(DEADLINE_SECONDS)
        worker.stop()
        wait_for(lambda: not listens(url), "it to stop listening")
        assert handled == []
        go_on.set()

    assert handled == [0, 1, 2]


@contextmanager
def serving_process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`serving_worker.py` at work, and its address."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def let_handlers_end(process: subprocess.Popen[str]) -> list[str]:
    """Let two handlers end; all that the process still prints."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\ngo\n")
    process.stdin.flush()
    return process.stdout.read().splitlines()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_finishes_what_was_accepted(number: signal.Signals) -> None:
    with serving_process() as (url, process):
        assert process.stdout
        ask(url, posted_by_letsgo(order(number=1), order(number=2)))
        assert process.stdout.readline() == "begun 1\n"

        process.send_signal(number)

        assert let_handlers_end(process) == ["ended 1", "begun 2", "ended 2", "stopped"]
        assert process.wait(DEADLINE_SECONDS) == 0


def test_a_second_interrupt_drops_what_has_not_begun() -> None:
    with serving_process() as (url, process):
        assert process.stdout
        ask(url, posted_by_letsgo(order(number=1), order(number=2)))
        assert process.stdout.readline() == "begun 1\n"

        process.send_signal(signal.SIGINT)
        wait_for(lambda: not listens(url), "it to stop listening")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "dropping\n"

        assert let_handlers_end(process) == ["ended 1"]
        assert process.wait(DEADLINE_SECONDS) != 0
