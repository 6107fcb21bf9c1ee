"""What travels with a message: one attribute, and X-Ray's header where that is asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest

from letsgo_queue import Client, Delivery, Message, Reject, Worker
from letsgo_queue.attributes import FAILURE, MAX_ATTRIBUTES, TRACE
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import COMPLETE, order, outgoing, receive, receive_one
from tests.letsgo_queue.support import TRACE as XRAY
from tests.letsgo_queue.worker.test_retries import queue_with_dead_letters
from tests.support.servers import AwsServer
from tests.support.spans import id_of, links_of, trace_of, traced

W3C = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
ENQUEUE, PROCESS = "enqueue memory://", "process memory://"


def attributes(count: int) -> Mapping[str, str]:
    return {f"a{number}": "x" for number in range(count)}


def received(queue: MemoryTransport) -> ReceivedMessage:
    return receive_one(queue, visibility_timeout=0)


def handle(client: Client) -> list[Delivery]:
    deliveries: list[Delivery] = []
    worker = Worker(client=client)

    @worker.handler("order:new")
    def on_order(message: Message[Any], delivery: Delivery) -> None:
        deliveries.append(delivery)

    worker.run(burst=True)
    return deliveries


def test_it_is_one_attribute_as_w3c_has_it(client: Client, queue: MemoryTransport) -> None:
    with traced() as spans:
        client.enqueue(order(), attributes=COMPLETE)
        attribute = received(queue).attributes[TRACE]
        assert attribute.data_type == "String"
        assert W3C.fullmatch(str(attribute.value))
        assert f"{id_of(spans.one(ENQUEUE)):016x}" in str(attribute.value)
    assert received(queue).attributes.keys() - COMPLETE.keys() == {TRACE}


def test_ten_attributes_with_it_and_ten_without(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with traced() as spans:
        client.enqueue(order(), attributes=attributes(MAX_ATTRIBUTES - 1))
        assert TRACE in received(queue).attributes
        assert caplog.messages == []
        handle(client)

        client.enqueue(order(), attributes=attributes(MAX_ATTRIBUTES))
        assert received(queue).attributes.keys() == attributes(MAX_ATTRIBUTES).keys()
        (line,) = [each for each in caplog.messages if "context of its trace" in each]
        assert "type order:new" in line
        assert "10 attributes already" in line
        handle(client)
        linked, alone = spans.named(PROCESS)
        assert len(linked.links) == 1
        assert len(alone.links) == 0


def test_a_message_that_fills_its_queue(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    most = queue.max_message_bytes() or 0
    room = most - len(b'{"type":"order:new","payload":{"note":""}}')
    with traced():
        client.enqueue(order(note="x" * room))
        client.enqueue(order(note="x" * (room - 80)))
    messages = queue.receive(max_messages=10, wait_seconds=0, visibility_timeout=None)
    assert [TRACE in each.attributes for each in messages] == [False, True]
    (line,) = caplog.messages
    assert f"exceed {most:,} bytes" in line


def test_what_the_caller_sets_stays(client: Client, queue: MemoryTransport) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with traced() as spans:
        client.enqueue(order(), attributes={TRACE: given})
        assert received(queue).attributes[TRACE].value == given
        handle(client)
        assert links_of(spans.one(PROCESS)) == [0xB7AD6B7169203331]


@pytest.mark.parametrize("value", ["x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 500])
def test_what_cannot_be_read_is_no_context(client: Client, value: str) -> None:
    client.enqueue(order(), attributes={TRACE: value})
    with traced() as spans:
        assert len(handle(client)) == 1
        assert len(spans.one(PROCESS).links) == 0


def test_a_dead_letter_says_why_rather_than_whence(ministack: AwsServer) -> None:
    url, dead_url = queue_with_dead_letters(ministack)
    client = Client(url)
    worker = Worker(client=client)

    @worker.handler("order:new")
    def refuse(message: Message[Any]) -> None:
        raise Reject("there is no such customer")

    with traced():
        for count in (MAX_ATTRIBUTES - 2, MAX_ATTRIBUTES - 1):
            client.enqueue(order(), attributes=attributes(count))
            worker.run(burst=True)
    with_room, full = sorted(
        receive(client.transport(dead_url)), key=lambda each: "a8" in each.attributes
    )
    assert with_room.attributes.keys() == {*attributes(MAX_ATTRIBUTES - 2), FAILURE, TRACE}
    assert full.attributes.keys() == {*attributes(MAX_ATTRIBUTES - 1), FAILURE}
    client.close()


class TestXRay:
    """The header travels beside the attributes, where it is asked for."""

    def test_it_travels_and_is_read_where_there_is_no_attribute(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        with traced(xray=True) as spans:
            client.enqueue(order(), attributes=attributes(MAX_ATTRIBUTES))
            header = received(queue).trace_header
            enqueue = spans.one(ENQUEUE)
            trace_id = f"{trace_of(enqueue):032x}"
            assert header == (
                f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={id_of(enqueue):016x};Sampled=1"
            )
            handle(client)
            assert links_of(spans.one(PROCESS)) == [id_of(enqueue)]

    def test_it_is_asked_for_by_the_environment(
        self, client: Client, queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontext,xray")
        with traced():
            client.enqueue(order())
        assert received(queue).trace_header is not None

    def test_without_being_asked_for_it_is_neither_written_nor_read(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        with traced() as spans:
            client.enqueue(order())
            assert received(queue).trace_header is None
            handle(client)
            spans.forget()
            queue.send(outgoing('{"type":"order:new","payload":{}}', trace_header=XRAY))
            handle(client)
            assert len(spans.one(PROCESS).links) == 0
