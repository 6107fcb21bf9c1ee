"""Who may post to a worker in LetsGo's local mode: programs on this machine, and no web pages."""

from __future__ import annotations

import json
import logging

import h11
import pytest

from letsgo_queue import Client, SendFailed, SettingsInvalid, Worker
from letsgo_queue.local_http.callers import Callers
from tests.letsgo_queue.local_http.letsgo import posted_by_letsgo
from tests.letsgo_queue.local_http.support import ask, collecting, connect
from tests.letsgo_queue.support import order, serving
from tests.support.waiting import wait_for

POST = b"POST / HTTP/1.0\r\nContent-Length: 2\r\n%b\r\n{}"


def allows(callers: Callers, host: str) -> bool:
    head = h11.Request(method="POST", target="/", headers=[("Host", host)])
    return callers.check(head) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Origin", "https://shop.example"),
        ("origin", "null"),
        ("Origin", "http://localhost:3000"),
        ("Sec-Fetch-Site", "cross-site"),
        ("sec-fetch-site", "none"),
    ],
)
def test_what_a_web_page_sends_runs_no_handler(
    name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, handled = collecting()
    ticks: list[object] = []
    worker.scheduled(ticks.append)

    with serving(worker) as url:
        for body in (posted_by_letsgo(order()), b'{"detail-type": "Scheduled Event"}'):
            status, answer = ask(url, body, headers={name: value, "Content-Type": "text/plain"})
            assert status == 403
            assert f"the header {name.lower()}." in json.loads(answer)["message"]

    assert (handled, ticks) == ([], [])
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 2


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LocalHost:3002", "localhost:", "localhost.", "shop.localhost"),
        *("127.0.0.1:3002", "127.8.9.1", "[::1]", "[::1]:3002"),
    ],
)
def test_names_of_this_machine_may_be_used(host: str) -> None:
    assert allows(Callers("127.0.0.1", []), host)


@pytest.mark.parametrize(
    "host",
    [
        *("shop.example", "shop.example:3002", "localhost.shop.example", "127.0.0.1.shop.example"),
        *("0.0.0.0", "192.168.1.5", "10.0.0.1:3002", "[fd00::1]", "2130706433", "xlocalhost"),
        *("localhost@shop.example", "shop.example/localhost", "localhost:3002:1", "[localhost", ""),
    ],
)
def test_no_other_host_may_be_used(host: str) -> None:
    assert not allows(Callers("127.0.0.1", ["worker"]), host)


@pytest.mark.parametrize("host", ["worker", "WORKER:3002", "10.0.0.1:3002", "[fd00::1]:3002"])
def test_hosts_can_be_allowed(host: str) -> None:
    assert allows(Callers("0.0.0.0", ["Worker", "10.0.0.1", "fd00::1"]), host)
    assert allows(Callers("0.0.0.0", ["Worker", "10.0.0.1", "[fd00::1]"]), host)


def test_the_host_where_it_listens_may_be_used() -> None:
    assert allows(Callers("worker.internal", []), "worker.internal:3002")
    assert not allows(Callers("0.0.0.0", []), "worker.internal:3002")


def test_a_rebound_name_runs_no_handler_and_the_sender_is_told_what_to_do() -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        status, answer = ask(url, posted_by_letsgo(order()), headers={"Host": "shop.example"})
        assert status == 403
        assert "--allowed-host" in json.loads(answer)["message"]
        assert ask(url, posted_by_letsgo(order()))[0] == 201
        wait_for(lambda: handled, "the other message")

    assert len(handled) == 1


def test_a_host_of_a_container_can_be_allowed() -> None:
    worker, handled = collecting()
    body = posted_by_letsgo(order())

    with serving(worker, allowed_hosts=["worker"]) as url:
        assert ask(url, body, headers={"Host": "other:3002"})[0] == 403
        assert ask(url, body, headers={"Host": "worker:3002"})[0] == 201
        wait_for(lambda: handled, "the message")

    assert len(handled) == 1


def test_a_request_without_a_host_is_refused() -> None:
    worker, _ = collecting()

    with serving(worker) as url:
        for header, status in ((b"", b"403"), (b"Host: localhost\r\n", b"201")):
            with connect(url) as connection:
                connection.sendall(POST % header)
                assert connection.recv(1_000).split()[1] == status


def test_a_host_is_escaped_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    worker, _ = collecting()
    host = "\x9b2J" + "x" * 5_000

    with serving(worker) as url:
        status, answer = ask(url, b"{}", headers={"Host": host})

    assert status == 403
    for told in (caplog.text, json.loads(answer)["message"]):
        assert len(told) < 600
        assert "\x9b" not in told


def test_our_client_passes_the_reason_on() -> None:
    worker, _ = collecting()

    with (
        serving(worker) as url,
        pytest.raises(SendFailed, match=r"403 .*does not answer to") as failed,
    ):
        Client(url.replace("127.0.0.1", "0.0.0.0")).enqueue(order())

    assert not failed.value.retryable


@pytest.mark.parametrize("host", ["http://worker", "worker:3002", "", "a b", "worker/"])
def test_an_allowed_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"allowed host '{host}'"):
        Worker().serve(port=0, allowed_hosts=[host])


def test_one_allowed_host_that_is_no_list_is_told() -> None:
    with pytest.raises(SettingsInvalid, match="allowed_hosts='worker': give a list"):
        Worker().serve(port=0, allowed_hosts="worker")
