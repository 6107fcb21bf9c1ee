"""kombu's event loop, as Celery's worker has it: messages are opened beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from claimcheck import SettingsInvalid
from claimcheck.integrations.kombu import with_claim_check
from tests.claimcheck.integrations.kombu_desk import Desk, event_loop
from tests.claimcheck.places import Left
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:(IOCTLFUNCTION|socket_all) is deprecated:DeprecationWarning"  # as kombu uses pycurl
)

LARGE = noise(20_000)

RunUntil = Callable[[Callable[[], object]], None]


@pytest.fixture
def desk(ministack: AwsServer) -> Iterator[Desk]:
    with closing(Desk(ministack, VisibilityTimeout="60")) as desk:
        yield desk


@pytest.fixture
def run_until() -> Iterator[RunUntil]:
    with event_loop() as run_until:
        yield run_until


@pytest.fixture
def hanging(desk: Desk) -> Iterator[threading.Event]:
    """The store answers once this is set."""
    event = threading.Event()
    desk.store.before("acquire", event.wait, times=100)
    yield event
    event.set()


def test_a_store_that_hangs_holds_only_its_own_messages(
    desk: Desk, run_until: RunUntil, hanging: threading.Event
) -> None:
    desk.send(LARGE)
    with desk.loop_consumer() as taken:
        run_until(lambda: desk.store.calls["acquire"])
        desk.send("small")
        run_until(lambda: taken == ["small"])
        hanging.set()
        run_until(lambda: taken == ["small", LARGE])
    assert desk.left() == Left(0, 1)
    assert desk.counts() == (0, 0)


def test_what_is_being_opened_counts_as_prefetched(
    desk: Desk, run_until: RunUntil, hanging: threading.Event
) -> None:
    for each in range(3):
        desk.send([each, LARGE])
    with desk.loop_consumer(prefetch_count=2) as taken:
        run_until(lambda: desk.store.calls["acquire"] == 2)
        assert desk.counts() == (1, 2)
        hanging.set()
        run_until(lambda: len(taken) == 3)
    assert sorted(each for each, _ in taken) == [0, 1, 2]


def test_a_consumer_that_is_gone_gives_back_what_was_being_opened(
    desk: Desk, run_until: RunUntil, hanging: threading.Event
) -> None:
    desk.send(LARGE)
    # Not more than one, or a request of kombu's that is under way takes the message again.
    with desk.loop_consumer(prefetch_count=1) as taken:
        run_until(lambda: desk.store.calls["acquire"])
    hanging.set()
    wait_for(lambda: desk.counts() == (1, 0), "a message that is visible")
    assert desk.left() == Left(1, 0)
    assert taken == []
    assert desk.take(1) == [LARGE]


def test_a_message_that_kombu_acknowledges_itself_is_done_when_it_is_delivered(
    desk: Desk, run_until: RunUntil
) -> None:
    desk.send(LARGE)
    with desk.loop_consumer(then="wait", no_ack=True) as taken:
        run_until(lambda: taken == [LARGE])
        run_until(lambda: desk.counts() == (0, 0))
    assert desk.left() == Left(0, 1)


def test_a_consumer_that_raises_keeps_no_other_message_back(
    desk: Desk, run_until: RunUntil, hanging: threading.Event
) -> None:
    desk.send([1, LARGE])
    desk.send([2, LARGE])
    with desk.loop_consumer(then="nonsense") as taken:
        run_until(lambda: desk.store.calls["acquire"] == 2)
        hanging.set()
        while len(taken) < 2:
            with pytest.raises(AttributeError, match="nonsense"):
                run_until(lambda: False)
    assert desk.left() == Left(2, 0)


def test_a_wrong_setting_shows_before_the_first_message(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAIMCHECK_STORE", "nowhere://claims")
    connection = with_claim_check(desk.plain())
    with closing(connection), pytest.raises(SettingsInvalid, match="CLAIMCHECK_STORE"):
        desk.take(1, connection)
