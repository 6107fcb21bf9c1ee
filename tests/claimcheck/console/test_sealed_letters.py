"""Sealed messages in the console: a look at a payload leaves its claim as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from claimcheck import ClaimCheck, ClaimCheckMiddleware, open_store
from letsgo_queue import Client, Reject, Worker
from letsgo_queue.admin import open_admin
from letsgo_queue.console.extension import ConsoleOptions
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.support import noise
from tests.letsgo_queue.admin.support import make_sqs_queue
from tests.letsgo_queue.console.support import finished, ids_in, signed_in
from tests.support.servers import AwsServer

PAYLOADS = {"small": "x", "compressed": "x" * 400_000, "stored": noise(2_200_000)}
"""By type, which says the route."""


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/claims.db"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/work.db"


def make_dead_letters(url: str, store: str) -> None:
    """Enqueue a message of each kind, and have a worker reject it."""
    client = Client(url, middleware=[ClaimCheckMiddleware(ClaimCheck(store=open_store(store)))])
    for type, payload in PAYLOADS.items():
        client.enqueue({"type": type, "payload": payload})
    worker = Worker(client=client, wait_seconds=0)

    @worker.default
    def reject(message: dict[str, object]) -> None:
        raise Reject("not today")

    worker.run(burst=True)
    client.close()


def handle(url: str, store: str) -> dict[str, object]:
    """What a worker gets, by type."""
    client = Client(url, middleware=[ClaimCheckMiddleware(ClaimCheck(store=open_store(store)))])
    worker = Worker(client=client, wait_seconds=0)
    handled: dict[str, object] = {}

    @worker.default
    def handler(message: dict[str, object]) -> None:
        handled[str(message["type"])] = message["payload"]

    worker.run(burst=True)
    client.close()
    return handled


@pytest.fixture
def console(url: str, store: str) -> Iterator[TestClient]:
    make_dead_letters(url, store)
    with signed_in(ConsoleOptions(queues=[url], store=store)) as client:
        yield client


def letters_in(text: str) -> dict[str, str]:
    """The page of each dead letter, by type."""
    found = re.findall(r'<a href="(/queues/0/dead-letters/[^"?]+)">([^<]+)</a>', text)
    return {type: page for page, type in found}


def test_a_payload_is_opened_on_a_click_and_can_be_handled_afterwards(
    console: TestClient, url: str, store: str
) -> None:
    listed = console.get("/queues/0/dead-letters").text
    letters = letters_in(listed)
    assert letters.keys() == PAYLOADS.keys()
    assert "2.2 MB" in listed

    for type, payload in PAYLOADS.items():
        assert payload[:50] not in console.get(letters[type]).text.replace("x", "")
        shown = console.get(f"{letters[type]}/payload").text
        assert f"&#34;payload&#34;: &#34;{payload[:5000]}" in shown
        assert len(shown) < 120_000
        download = console.get(f"{letters[type]}/download")
        assert download.json() == {"type": type, "payload": payload}

    answer = console.post(
        "/queues/0/dead-letters/do", data={"id": ids_in(listed), "action": "redrive"}
    )
    assert "3 redriven, 0 failed" in finished(console, answer.url.path)
    assert handle(url, store) == PAYLOADS


def test_a_claim_that_is_gone_says_why(console: TestClient, store: str, tmp_path: Path) -> None:
    (tmp_path / "claims.db").unlink()
    letter = letters_in(console.get("/queues/0/dead-letters").text)["stored"]

    shown = console.get(f"{letter}/payload").text

    assert "It could not be opened: " in shown
    assert "message" in shown
    assert console.get(f"{letter}/download").status_code == 502
    assert PAYLOADS["stored"][:50] not in shown


def test_on_sqs_a_look_is_asked_for_and_counts_as_a_receive(
    ministack: AwsServer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.admin.sqs_watch.WAIT_SECONDS", 0)
    monkeypatch.setattr("letsgo_queue.admin.sqs_visit.WAIT_SECONDS", 0)
    url = make_sqs_queue(ministack, max_receives=5)
    make_dead_letters(url, store)
    with signed_in(ConsoleOptions(queues=[url], store=store)) as console:
        here = "/queues/0/dead-letters"
        before = console.get(here).text
        assert "SQS shows dead letters only to a receiver" in before
        assert letters_in(before) == {}

        listed = console.post(f"{here}/look").text
        letters = letters_in(listed)
        assert letters.keys() == PAYLOADS.keys()
        payload = PAYLOADS["stored"]
        assert payload[:5000] in console.get(f"{letters['stored']}/payload").text
        ids = {type: page.rpartition("/")[2] for type, page in letters.items()}

        moved = {"id": [ids["stored"], ids["small"]], "action": "redrive"}
        answer = console.post(f"{here}/do", data=moved)
        assert "2 redriven, 0 failed" in finished(console, answer.url.path)
        answer = console.post(f"{here}/do", data={"id": ids["compressed"], "action": "delete"})
        assert "1 deleted, 0 failed" in finished(console, answer.url.path)
        assert letters_in(console.get(here).text) == {}

        messages = "/queues/0/messages"
        assert "stored</a>" not in console.get(messages).text
        assert "stored</a>" in console.post(messages).text
        assert "stored</a>" in console.get(messages).text  # as it was seen: nothing is received
        (page,) = re.findall(r'<a href="([^"]+)">stored</a>', console.get(messages).text)
        assert "<dd>1 time</dd>" in console.get(page).text
        console.post(messages)
        assert "<dd>2 times</dd>" in console.get(page).text

    with closing(open_admin(url, QueueSettings())) as admin:
        assert admin.status().dead == 0
    assert handle(url, store) == {type: PAYLOADS[type] for type in ("small", "stored")}
