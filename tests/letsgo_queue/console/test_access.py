"""Who may use the console, and who may not."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from letsgo_queue.console.access import HEADERS
from tests.letsgo_queue.console.conftest import OpenConsole
from tests.letsgo_queue.console.support import HOST, TOKEN


@pytest.fixture
def console(open_console: OpenConsole) -> TestClient:
    return open_console()


def test_the_printed_address_signs_in_and_leaves_no_token_in_the_history(
    console: TestClient,
) -> None:
    console.cookies.clear()

    answer = console.get("/", params={"token": TOKEN}, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert console.get("/").status_code == 200


def test_signing_in_leads_to_no_other_host(console: TestClient) -> None:
    answer = console.get(
        f"http://{HOST}//evil.example/x", params={"token": TOKEN}, follow_redirects=False
    )

    assert answer.headers["location"] == "/evil.example/x"


def test_an_answer_to_an_error_is_guarded_as_well(
    console: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("letsgo_queue.console.sampling.Sampler.last", fail)
    unraising = TestClient(console.app, raise_server_exceptions=False, cookies=console.cookies)
    answer = unraising.get(f"http://{HOST}/")

    assert answer.status_code == 500
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/", "/numbers", "/static/console.js", "/queues/0/messages"])
def test_without_the_token_nothing_is_there(console: TestClient, path: str) -> None:
    console.cookies.clear()

    answer = console.get(path)

    assert answer.status_code == 401
    assert "Open the address that the console printed" in answer.text
    assert console.get(path, params={"token": "another"}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example:3003", "127.0.0.1:9999", "127.0.0.1", ""])
def test_another_hosts_name_is_refused(console: TestClient, host: str) -> None:
    answer = console.get("/", params={"token": TOKEN}, headers={"host": host})

    assert answer.status_code == 421
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "same-site"},
    ],
)
def test_another_site_changes_nothing(console: TestClient, headers: dict[str, str]) -> None:
    answer = console.post("/queues/0/dead-letters/do", data={"id": "x"}, headers=headers)

    assert answer.status_code == 403


def test_another_site_reads_nothing(console: TestClient) -> None:
    assert console.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert console.get("/", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_every_answer_keeps_the_browser_here(console: TestClient) -> None:
    for path in ("/", "/nothing", "/static/console.css"):
        answer = console.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
