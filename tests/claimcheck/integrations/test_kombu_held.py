"""What kombu has is held until it is settled, whatever fails meanwhile, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from claimcheck.integrations import kombu_claims
from tests.claimcheck.integrations.kombu_desk import Desk, event_loop
from tests.claimcheck.places import Left
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

LARGE = noise(20_000)

UNREADABLE = "setdefault|list indices"
"""What kombu 5.7, and 5.4, say of properties that are a list."""


@pytest.fixture
def desk(ministack: AwsServer) -> Iterator[Desk]:
    with closing(Desk(ministack, VisibilityTimeout="60")) as desk:
        yield desk


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is hidden anew each 0.6 seconds."""
    monkeypatch.setattr(kombu_claims, "_BEATS", 100)


def test_a_consumer_that_raises_keeps_nothing_that_it_was_not_given(desk: Desk) -> None:
    for each in range(3):
        desk.send([each, LARGE])
    connection: Any = desk.connect()
    with (
        desk.consumer(connection, then="nonsense") as taken,
        pytest.raises(AttributeError, match="nonsense"),
    ):
        connection.drain_events(timeout=10)
    assert len(taken) == 1
    assert desk.counts() == (0, 3)  # hidden until their visibility timeout ends
    assert desk.left() == Left(3, 1)


def test_a_message_that_kombu_fails_to_acknowledge_itself_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise ConnectionError

    desk.send(LARGE)
    connection: Any = desk.connect()
    monkeypatch.setattr(connection.default_channel, "asynsqs", fail)  # what deletes it
    with desk.consumer(connection, no_ack=True) as taken, pytest.raises(ConnectionError):
        connection.drain_events(timeout=10)
    assert (taken, desk.left()) == ([], Left(1, 0))


class TestWhatKombuCannotRead:
    @pytest.fixture(autouse=True)
    def foreign(self, desk: Desk) -> None:
        body = desk.check.seal(f'{{"properties": [], "body": "{LARGE}"}}').body.decode()
        desk.sqs.send_message(QueueUrl=desk.url, MessageBody=body)

    def test_is_not_held(self, desk: Desk) -> None:
        with pytest.raises((AttributeError, TypeError), match=UNREADABLE):
            desk.take(1)
        assert desk.store.calls["acquire"] == 1
        assert desk.left() == Left(1, 0)

    @pytest.mark.filterwarnings("ignore:(IOCTLFUNCTION|socket_all) is deprecated")
    def test_is_not_held_on_the_event_loop(self, desk: Desk) -> None:
        with event_loop() as run_until, desk.loop_consumer() as taken:
            with pytest.raises((AttributeError, TypeError), match=UNREADABLE):
                run_until(lambda: taken)
            assert desk.store.calls["acquire"] == 1
            assert desk.left() == Left(1, 0)


@pytest.mark.usefixtures("quick_beats")
def test_a_store_that_hangs_has_no_message_come_back_and_no_acknowledgement_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, hidden, hide = threading.Event(), set(), kombu_claims.hide

    def note(client: Any, queue: str, handle: str, seconds: int) -> bool:
        hidden.add(handle)
        return hide(client, queue, handle, seconds)

    monkeypatch.setattr(kombu_claims, "hide", note)
    desk.store.before("extend", lambda: answers.wait(20), times=100)
    for each in range(3):
        desk.send([each, LARGE])
    connection = desk.connect()
    desk.take(3, connection, then="wait")
    try:
        wait_for(lambda: desk.store.calls["extend"], "a lease that is extended")
        wait_for(lambda: len(hidden) == 3, "messages that are hidden for longer")
        channel: Any = connection.default_channel
        for handle in hidden:
            channel.basic_ack(handle)
        assert not answers.is_set()
        assert desk.left() == Left(0, 3)
    finally:
        answers.set()
    assert desk.counts() == (0, 0)


def test_a_connection_that_closes_waits_for_a_slow_store_once(desk: Desk) -> None:
    together = threading.Barrier(3)
    desk.store.before("release", lambda: together.wait(20), times=3)
    for each in range(3):
        desk.send([each, LARGE])
    connection: Any = desk.connect()
    desk.take(3, connection, then="wait")
    connection.release()
    assert desk.left() == Left(3, 0)


@pytest.mark.usefixtures("quick_beats")
def test_a_fault_of_the_store_lets_go_of_nothing(desk: Desk) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    desk.store.before("extend", fault)
    desk.send(LARGE)
    desk.take(1, desk.connect(), then="wait")
    wait_for(lambda: desk.store.calls["extend"] >= 2, "another try")
    desk.clock.advance(50)
    wait_for(lambda: desk.seconds_leased() > 50, "a lease that was extended")


@pytest.mark.usefixtures("quick_beats")
def test_a_message_is_hidden_with_the_credentials_that_kombu_has_now(desk: Desk) -> None:
    """Those of a role expire while a consumer has the message."""
    desk.send(LARGE)
    connection = desk.connect()
    desk.take(1, connection, then="wait")
    channel: Any = connection.default_channel

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, "ChangeMessageVisibility")

    channel._predefined_queue_clients.pop(desk.name).meta.events.register("before-call.sqs", refuse)
    desk.clock.advance(50)
    wait_for(lambda: desk.seconds_leased() > 50, "a lease that was extended")
