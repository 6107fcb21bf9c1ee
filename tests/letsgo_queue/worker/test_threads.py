"""The threads that handlers run on, without a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import pytest

from letsgo_queue import QueueUnavailable
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.processing import Hold
from letsgo_queue.worker.threads import STINT_SECONDS, HandlerThreads
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime, wait_for


@dataclass
class Work:
    """Stands for a message in hand, and for what is done with it."""

    work: Callable[[], object]
    message_id: str = "m-1"


def works(*calls: Callable[[], object]) -> list[IncomingMessage]:
    return [cast("IncomingMessage", Work(call)) for call in calls]


def run(message: IncomingMessage) -> bool | Hold:
    outcome = cast("Work", message).work()
    return outcome if isinstance(outcome, Hold) else True


class Threads(HandlerThreads):
    """They count what was handled to its end, and are ended with the test."""

    def __init__(self, concurrency: int, *, share: bool = True) -> None:
        self.handled = 0
        super().__init__(concurrency, run, handled=self._count, held=lambda: None, share=share)

    def _count(self) -> None:
        self.handled += 1


@pytest.fixture
def make() -> Iterator[Callable[..., Threads]]:
    made: list[Threads] = []

    def make(concurrency: int, **options: bool) -> Threads:
        made.append(Threads(concurrency, **options))
        return made[-1]

    yield make
    for threads in made:
        threads.close()
        threads.join()


class Busy:
    """A handler that is at work until it is told to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(DEADLINE_SECONDS)


@pytest.fixture
def busy(make: object) -> Iterator[Busy]:
    """It ends before the threads do."""
    busy = Busy()
    yield busy
    busy.go_on.set()


Make = Callable[..., Threads]
QUICK_SECONDS = 0.0001


def used_to_quick_ones(threads: Threads) -> Threads:
    threads.seconds_each = QUICK_SECONDS
    return threads


def test_slow_ones_have_a_thread_each(make: Make) -> None:
    threads = make(8)
    together = threading.Barrier(9)

    threads.add(works(*[together.wait] * 8))

    together.wait(DEADLINE_SECONDS)


def test_quick_ones_share_a_thread(make: Make) -> None:
    threads = used_to_quick_ones(make(8))
    used: list[int] = []

    threads.add(works(*[lambda: used.append(threading.get_ident())] * 8))

    wait_for(lambda: len(used) == 8, "all of them")
    assert len(set(used)) == 1


def test_one_that_is_busy_keeps_nothing_that_arrives_from_the_others(
    make: Make, busy: Busy, time_passes: PassingTime
) -> None:
    threads = used_to_quick_ones(make(2))
    threads.add(works(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    time_passes(2 * STINT_SECONDS)

    handled = threading.Event()
    threads.add(works(handled.set))

    assert handled.wait(DEADLINE_SECONDS)


def test_help_has_others_take_what_waits_behind_one_that_is_busy(make: Make, busy: Busy) -> None:
    threads = used_to_quick_ones(make(2))
    handled = threading.Event()
    threads.add(works(busy, handled.set))
    assert busy.begun.wait(DEADLINE_SECONDS)

    wait_for(lambda: not threads.help(), "nothing to wait")

    assert handled.wait(DEADLINE_SECONDS)


def test_close_gives_what_was_not_begun(make: Make, busy: Busy) -> None:
    threads = make(1)
    begun: list[int] = []
    rest = works(lambda: begun.append(1), lambda: begun.append(2))
    threads.add(works(busy))
    assert busy.begun.wait(DEADLINE_SECONDS)
    threads.add(rest)

    threads.drain(0.05)
    assert threads.close() == [(0, message) for message in rest]

    busy.go_on.set()
    assert threads.join() == []
    assert begun == []


def test_one_that_takes_long_says_less_than_ten(make: Make, time_passes: PassingTime) -> None:
    threads = used_to_quick_ones(make(1))

    def slow() -> None:
        time_passes(0.02)

    threads.add(works(slow))
    wait_for(lambda: threads.handled == 1, "one")
    assert (threads.seconds_each or 0) <= 3 * QUICK_SECONDS

    threads.add(works(*[slow] * 10))
    wait_for(lambda: threads.handled == 11, "ten more")
    assert (threads.seconds_each or 0) > 0.005


def test_without_sharing_each_has_a_thread(make: Make) -> None:
    threads = used_to_quick_ones(make(8, share=False))
    together = threading.Barrier(9)

    threads.add(works(*[together.wait] * 8))

    together.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_defect_takes_no_thread(
    make: Make, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    threads = make(1)

    def fail() -> None:
        raise error

    threads.add(works(fail, lambda: None))

    wait_for(lambda: threads.handled == 2, "both to be done with")
    assert "message m-1 is left to its queue" in caplog.text
    assert threads.close() == []


def test_join_leaves_no_thread(make: Make) -> None:
    before = threading.active_count()
    threads = make(3)
    together = threading.Barrier(4)
    threads.add(works(*[together.wait] * 3))
    together.wait(DEADLINE_SECONDS)

    threads.close()
    threads.join()

    assert threading.active_count() == before


class Held:
    """What cannot be opened before it was tried a few times."""

    def __init__(self, *pauses: float) -> None:
        self.pauses = list(pauses)
        self.tries = 0

    def __call__(self) -> Hold | None:
        self.tries += 1
        if not self.pauses:
            return None
        return Hold(self.pauses.pop(0), QueueUnavailable("the store does not answer."))


class TestHolding:
    """A message waits in here; nothing else waits for it."""

    def test_is_tried_again_when_its_pause_is_over(
        self, make: Make, time_passes: PassingTime
    ) -> None:
        threads = make(1)
        held = Held(600, 1200)
        threads.add(works(held))
        wait_for(lambda: threads.held == 1, "it to be held")

        time_passes(500)
        assert not threads.help()
        assert held.tries == 1
        time_passes(100)
        assert threads.help()
        wait_for(lambda: held.tries == 2 and threads.held == 1, "it to be held again")
        assert threads.handled == 0
        time_passes(1200)
        assert threads.help()
        wait_for(lambda: threads.handled == 1, "its end")

        assert (held.tries, threads.held) == (3, 0)

    def test_keeps_no_other_from_the_thread(self, make: Make) -> None:
        threads = make(1)
        held = Held(600)

        threads.add(works(held, lambda: None))

        wait_for(lambda: threads.handled == 1, "the other one")
        assert (held.tries, threads.held) == (1, 1)

    def test_those_whose_pause_ends_first_are_tried_first(
        self, make: Make, time_passes: PassingTime
    ) -> None:
        threads = make(1)
        long, short, other = Held(900), Held(300), Held(900)
        threads.add(works(long, short, other))
        wait_for(lambda: threads.held == 3, "all to be held")

        time_passes(400)
        threads.help()
        wait_for(lambda: threads.handled == 1, "the first")
        assert (long.tries, short.tries, other.tries) == (1, 2, 1)

        time_passes(600)
        threads.help()
        wait_for(lambda: threads.handled == 3, "the others")

    def test_says_nothing_of_how_long_handlers_take(self, make: Make) -> None:
        threads = make(1)
        threads.add(works(Held(600)))
        wait_for(lambda: threads.held == 1, "it to be held")

        assert threads.seconds_each is None

    def test_close_gives_it_with_the_rest_of_its_pause(
        self, make: Make, time_passes: PassingTime
    ) -> None:
        threads = make(1)
        late, due = works(Held(600), Held(100))
        threads.add([late, due])
        wait_for(lambda: threads.held == 2, "both to be held")
        time_passes(200)

        rest = threads.close()

        assert seconds_of(rest, due) == 0
        assert 400 - DEADLINE_SECONDS < seconds_of(rest, late) <= 400
        assert (threads.held, threads.join()) == (0, [])

    def test_join_gives_what_was_being_tried(self, make: Make, busy: Busy) -> None:
        threads = make(1)
        held = Held(600)

        def try_slowly() -> Hold | None:
            busy()
            return held()

        (message,) = works(try_slowly)
        threads.add([message])
        assert busy.begun.wait(DEADLINE_SECONDS)

        assert threads.close() == []
        busy.go_on.set()

        ((seconds, given),) = threads.join()
        assert given is message
        assert 600 - DEADLINE_SECONDS < seconds <= 600
        assert threads.held == 0


def seconds_of(rest: Sequence[tuple[float, IncomingMessage]], message: IncomingMessage) -> float:
    (seconds,) = [seconds for seconds, each in rest if each is message]
    return seconds
