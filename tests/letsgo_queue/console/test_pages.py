"""What the pages say and do, on a queue in a file."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from letsgo_queue import Client
from letsgo_queue.admin import DeadLetterFilter, open_admin
from letsgo_queue.settings import QueueSettings
from tests.letsgo_queue.console.conftest import OpenConsole
from tests.letsgo_queue.console.support import finished, ids_in, make_dead_letters, query_in

HOSTILE = "<script>alert(1)</script>\x1b[31m"


class TestOverview:
    def test_numbers_and_age(self, open_console: OpenConsole, url: str) -> None:
        Client(url).enqueue_many([{"type": "any", "payload": 1}] * 3)
        Client(url).enqueue({"type": "any"}, delay_seconds=60)

        text = open_console().get("/").text

        assert re.search(r'"0.waiting"[^>]*>3<', text)
        assert re.search(r'"0.delayed"[^>]*>1<', text)
        assert re.search(r'"0.oldest"[^>]*>\d+ s<', text)

    def test_a_queue_that_is_not_there_is_told_and_the_others_are_shown(
        self, open_console: OpenConsole, url: str, tmp_path: Path
    ) -> None:
        Client(url).enqueue({"type": "any"})

        text = open_console(f"sqlite:///{tmp_path}/none.db", url).get("/").text

        assert "there is no file" in text
        assert re.search(r'"1.waiting"[^>]*>1<', text)


class TestMessages:
    def test_a_payload_is_shown_only_when_it_is_asked_for(
        self, open_console: OpenConsole, url: str
    ) -> None:
        sent = Client(url).enqueue({"type": "order:new", "payload": {"name": "Ada"}})
        console, here = open_console(), f"/queues/0/messages/{sent.message_id}"

        assert "order:new" in console.get("/queues/0/messages").text
        assert "Ada" not in console.get("/queues/0/messages").text + console.get(here).text
        assert "&#34;name&#34;: &#34;Ada&#34;" in console.get(f"{here}/payload").text
        download = console.get(f"{here}/download")
        assert download.content == b'{"type":"order:new","payload":{"name":"Ada"}}'
        assert "attachment" in download.headers["content-disposition"]

    def test_a_large_payload_is_cut(self, open_console: OpenConsole, url: str) -> None:
        sent = Client(url).enqueue({"type": "large", "payload": "y" * 150_000})
        here = f"/queues/0/messages/{sent.message_id}"

        text = open_console().get(f"{here}/payload").text

        assert "the first 100 KB are shown" in text
        assert 99_000 < text.count("y") < 101_000

    def test_what_a_sender_chose_is_never_more_than_text(
        self, open_console: OpenConsole, url: str
    ) -> None:
        sent = Client(url).enqueue(
            {"type": HOSTILE, "payload": {"markup": "</pre><script>1</script>"}},
            group_id="<b>",
        )
        console = open_console()

        for path in ("", f"/{sent.message_id}", f"/{sent.message_id}/payload"):
            text = console.get(f"/queues/0/messages{path}").text
            assert "<script>" not in text.replace('<script src="/static/console.js" defer>', "")
            assert "<b>" not in text
            assert "\x1b" not in text

    def test_states_and_pages(self, open_console: OpenConsole, url: str) -> None:
        Client(url).enqueue_many([{"type": f"n:{number}"} for number in range(60)])
        Client(url).enqueue({"type": "later"}, delay_seconds=600)
        console = open_console()

        first = console.get("/queues/0/messages").text
        following = re.search(r'href="(\?after=\d+)"', first)
        assert following
        second = console.get(f"/queues/0/messages{following[1]}").text

        assert "n:0<" in first
        assert "n:59<" not in first
        assert "n:59<" in second
        delayed = console.get("/queues/0/messages", params={"state": "delayed"}).text
        assert "later" in delayed
        assert "n:0<" not in delayed

    def test_a_message_that_is_gone(self, open_console: OpenConsole, url: str) -> None:
        Client(url).enqueue({"type": "any"})

        answer = open_console().get("/queues/0/messages/none")

        assert answer.status_code == 404
        assert "not on the queue any more" in answer.text

    def test_no_messages(self, open_console: OpenConsole, url: str) -> None:
        make_dead_letters(url, 0)

        assert "No message waits." in open_console().get("/queues/0/messages").text


class TestDeadLetters:
    @pytest.fixture
    def console(self, open_console: OpenConsole, url: str) -> TestClient:
        make_dead_letters(url, 9)
        return open_console()

    def test_each_says_why_and_no_text_of_an_error(self, console: TestClient) -> None:
        text = console.get("/queues/0/dead-letters").text

        rows = text.partition("data-selection")[2]
        assert (rows.count("NoStockError"), rows.count("no such customer")) == (6, 3)
        assert "support.py:" in text
        assert "a secret" not in text

    def test_what_most_failed_of_comes_first_and_is_one_click_away(
        self, console: TestClient, url: str
    ) -> None:
        def whys(text: str) -> list[list[str]]:
            table = text.partition("<tbody>")[2].partition("</tbody>")[0]
            return [
                [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<td.*?</td>", row)][:3]
                for row in table.split("</tr>")[:-1]
            ]

        with closing(open_admin(url, QueueSettings())) as admin:
            *_, newest = admin.dead_letters(only=DeadLetterFilter(types=["order:0"]))
            admin.delete(only=DeadLetterFilter(ids=[newest.message_id]))
        text = console.get("/queues/0/dead-letters").text

        assert whys(text) == [
            ["3", "order:1", "NoStockError"],
            ["3", "order:2", "NoStockError"],
            ["2", "order:0", "no such customer"],
        ]
        (link,) = re.findall(r'href="(\?type=order%3A1[^"]*)"', text.partition("<form")[0])
        assert "NoStockError" in link
        assert len(ids_in(console.get(f"/queues/0/dead-letters{unescape(link)}").text)) == 3

    def test_filter_and_order(self, console: TestClient) -> None:
        of_one = console.get("/queues/0/dead-letters", params={"type": "order:1"}).text
        by_type = console.get("/queues/0/dead-letters", params={"sort": "type", "down": "1"}).text
        nothing = console.get("/queues/0/dead-letters", params={"age": "7 days"}).text

        assert len(ids_in(of_one)) == 3
        assert (
            re.findall(r">(order:\d)</a>", by_type.partition("data-selection")[2])
            == ["order:2"] * 3 + ["order:1"] * 3 + ["order:0"] * 3
        )
        assert "No dead letter matches the filter." in nothing

    def test_selected_letters_are_redriven_after_a_page_that_asks(
        self, console: TestClient, url: str
    ) -> None:
        chosen = ids_in(console.get("/queues/0/dead-letters").text)[:2]
        fields: dict[str, object] = {"id": chosen, "action": "redrive", "all": ""}

        asked = console.post("/queues/0/dead-letters/confirm", data=fields)
        assert "Redrive 2 dead letters?" in asked.text
        with closing(open_admin(url, QueueSettings())) as admin:
            assert admin.status().dead == 9

        answer = console.post(
            "/queues/0/dead-letters/do", data={"id": ids_in(asked.text), **fields}
        )
        over = finished(console, answer.url.path)

        assert "2 redriven, 0 failed" in over
        with closing(open_admin(url, QueueSettings())) as admin:
            assert (admin.status().dead, admin.status().waiting) == (7, 2)

    def test_all_that_the_filter_shows_are_deleted(self, console: TestClient, url: str) -> None:
        shown = console.get("/queues/0/dead-letters", params={"type": "order:0"}).text
        fields = {"all": "1", "query": query_in(shown), "action": "delete"}
        asked = console.post("/queues/0/dead-letters/confirm", data=fields)
        assert "Delete 3 dead letters?" in asked.text

        answer = console.post(
            "/queues/0/dead-letters/do", data={"id": ids_in(asked.text), "action": "delete"}
        )

        assert "3 deleted, 0 failed" in finished(console, answer.url.path)
        with closing(open_admin(url, QueueSettings())) as admin:
            assert {each.type for each in admin.dead_letters()} == {"order:1", "order:2"}

    def test_those_that_somebody_else_took_are_told(self, console: TestClient, url: str) -> None:
        chosen = ids_in(console.get("/queues/0/dead-letters").text)[:2]
        with closing(open_admin(url, QueueSettings())) as admin:
            admin.delete()

        answer = console.post("/queues/0/dead-letters/do", data={"id": chosen, "action": "redrive"})

        assert "2 were no dead letters any more" in finished(console, answer.url.path)

    def test_nothing_selected(self, console: TestClient) -> None:
        answer = console.post("/queues/0/dead-letters/confirm", data={"action": "redrive"})

        assert answer.status_code == 400
        assert "No dead letter is selected" in answer.text

    def test_another_action_is_refused(self, console: TestClient) -> None:
        answer = console.post("/queues/0/dead-letters/do", data={"id": "x", "action": "purge"})

        assert answer.status_code == 400

    def test_a_payload_is_shown_on_request(self, console: TestClient) -> None:
        (chosen, *_) = ids_in(console.get("/queues/0/dead-letters").text)
        here = f"/queues/0/dead-letters/{chosen}"

        assert "&#34;number&#34;" not in console.get(here).text
        assert "&#34;number&#34;: " in console.get(f"{here}/payload").text

    def test_actions_are_logged_and_payloads_are_not(
        self, console: TestClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        (chosen, *_) = ids_in(console.get("/queues/0/dead-letters").text)
        console.get(f"/queues/0/dead-letters/{chosen}/payload")

        answer = console.post("/queues/0/dead-letters/do", data={"id": chosen, "action": "delete"})
        finished(console, answer.url.path)

        assert "console: delete of 1 dead letter of sqlite:" in caplog.text
        assert '"number"' not in caplog.text


def test_read_only(open_console: OpenConsole, url: str) -> None:
    make_dead_letters(url, 1)
    console = open_console(read_only=True)
    text = console.get("/queues/0/dead-letters").text

    assert "read only" in text
    assert "<button name" not in text
    for path in ("dead-letters/confirm", "dead-letters/do", "dead-letters/look", "messages"):
        answer = console.post(f"/queues/0/{path}", data={"id": "x", "action": "delete"})
        assert (answer.status_code, "--read-only" in answer.text) == (403, True)


def test_a_queue_that_the_console_does_not_have(open_console: OpenConsole) -> None:
    assert open_console().get("/queues/7/messages").status_code == 404


def test_a_page_that_the_console_does_not_have(open_console: OpenConsole) -> None:
    answer = open_console().get("/nowhere")

    assert answer.status_code == 404
    assert "The console has no page /nowhere." in answer.text
