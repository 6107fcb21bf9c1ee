"""What a sender, or whoever wrote a file, may have put into a queue."""

from __future__ import annotations

import json
import re
import sqlite3
import tracemalloc
from contextlib import closing
from html import unescape

from letsgo_queue.attributes import FAILURE, MessageAttribute
from letsgo_queue.transports.sqlite_rows import attributes_to_json
from tests.letsgo_queue.console.conftest import OpenConsole
from tests.letsgo_queue.console.support import store_rows


def test_half_a_surrogate_pair(open_console: OpenConsole, url: str) -> None:
    store_rows(url, ["plain"], r'{"type":"\ud800","payload":"\udfff"}')
    console = open_console()

    for page in ("/queues/0/messages", "/queues/0/dead-letters"):
        assert "no type" in console.get(page).text
    assert r"\udfff" in console.get("/queues/0/messages/plain/payload").text
    assert r"\udfff" in console.get("/queues/0/dead-letters/plain/payload").text


def test_ids_with_slashes(open_console: OpenConsole, url: str) -> None:
    ids = ["a/b", "a%2Fb", "?x=1#y", "/"]
    store_rows(url, ids, '{"type":"any","payload":1}')
    console = open_console()

    for section in ("messages", "dead-letters"):
        text = console.get(f"/queues/0/{section}").text
        links = re.findall(rf'<a href="(/queues/0/{section}/[^"]+)">any</a>', text)
        assert len(links) == len(ids)
        for link in links:
            assert console.get(unescape(link)).status_code == 200
            assert "&#34;payload&#34;: 1" in console.get(f"{unescape(link)}/payload").text


def test_names_as_long_as_a_message_do_not_fill_the_page(
    open_console: OpenConsole, url: str
) -> None:
    long = "y" * 200_000
    store_rows(url, ["1", "2"], f'{{"type":"{long}","payload":1}}')
    console = open_console()

    for page in ("messages", "messages/1", "dead-letters", "dead-letters/1"):
        assert len(console.get(f"/queues/0/{page}").text) < 20_000


def test_indents_do_not_fill_the_memory(open_console: OpenConsole, url: str) -> None:
    deep = "[" * 400 + "1," * 200_000 + "1" + "]" * 400
    store_rows(url, ["deep"], f'{{"type":"any","payload":{deep}}}')
    console = open_console()

    tracemalloc.start()
    text = console.get("/queues/0/messages/deep/payload").text
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "the first 100 KB are shown" in text
    assert most < 50_000_000


def test_numbers_that_a_sender_made_up(open_console: OpenConsole, url: str) -> None:
    huge = 10**400
    body = f'{{"type":"any","claimCheck":{{"v":1,"id":"x","size":{huge}}}}}'
    store_rows(url, ["1"], body)
    failure = {"v": 1, "reason": "no use", "attempts": huge}
    attributes = attributes_to_json({FAILURE: MessageAttribute("String", json.dumps(failure))})
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE queue_dead_letters SET attributes = ?", [attributes])
    console = open_console()

    for page in ("messages", "messages/1", "dead-letters", "dead-letters/1"):
        assert "any" in console.get(f"/queues/0/{page}").text
    assert "no use" in console.get("/queues/0/dead-letters").text


def test_numbers_in_addresses(open_console: OpenConsole, url: str) -> None:
    store_rows(url, ["1"], '{"type":"any","payload":1}')
    console = open_console()

    for number in ("9" * 5_000, "9" * 30, "-1", "\u0663", "x", "0"):
        assert console.get("/queues/0/messages", params={"after": number}).status_code == 200
        assert console.get("/queues/0/dead-letters", params={"page": number}).status_code == 200
