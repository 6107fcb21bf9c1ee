"""Removals in the background: none holds up who asks for it, and none a process that ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from claimcheck.errors import ClaimStoreUnavailable
from claimcheck.stores import removals as module
from claimcheck.stores.removals import Removals, finish
from tests.support.forks import fork, threads_are_there
from tests.support.waiting import wait_for

ENOUGH_SECONDS = 30.0


class Contents:
    """What is removed; a removal may have to wait for `go_on`."""

    def __init__(self, removals: Removals) -> None:
        self.removals = removals
        self.removed: list[str] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def remove(self, claim_id: str) -> None:
        self.removals.add(claim_id, lambda: self.removed.append(claim_id))

    def hang(self, claim_id: str) -> None:
        """Have a removal wait, and one of the threads with it."""

        def remove() -> None:
            self.begun.release()
            self.go_on.wait()
            self.removed.append(claim_id)

        self.removals.add(claim_id, remove)
        assert self.begun.acquire(timeout=ENOUGH_SECONDS)

    def fail(self, claim_id: str, error: Exception) -> None:
        def remove() -> None:
            raise error

        self.removals.add(claim_id, remove)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy two seconds are soon over."""
    monkeypatch.setattr(module, "FINISH_SECONDS", ENOUGH_SECONDS)


@pytest.fixture
def contents() -> Iterator[Contents]:
    contents = Contents(Removals())
    yield contents
    contents.go_on.set()
    contents.removals.close()
    assert not threads()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS", 1)


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == module.THREAD_NAME]


def test_they_are_made(contents: Contents) -> None:
    for number in range(100):
        contents.remove(str(number))

    assert contents.removals.wait(ENOUGH_SECONDS) == 0
    assert sorted(map(int, contents.removed)) == [*range(100)]


@pytest.mark.usefixtures("one_thread")
class TestABusyStore:
    def test_what_does_not_fit_is_left_to_expire(
        self, contents: Contents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "MOST_WAITING", 2)
        contents.hang("first")

        for name in ("second", "third", "fourth"):  # nobody waits for one here
            contents.remove(name)

        assert "claim fourth: its contents are left to expire: too many wait" in caplog.text
        contents.go_on.set()
        assert contents.removals.wait(ENOUGH_SECONDS) == 0
        assert contents.removed == ["first", "second", "third"]

    def test_what_waited_too_long_is_left_to_expire(
        self, contents: Contents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        contents.hang("first")
        monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", -1)
        contents.remove("second")
        monkeypatch.undo()
        contents.go_on.set()

        assert contents.removals.wait(ENOUGH_SECONDS) == 0
        assert contents.removed == ["first"]
        assert "claim second: its contents are left to expire: too many wait" in caplog.text

    def test_what_fails_keeps_no_other(
        self, contents: Contents, caplog: pytest.LogCaptureFixture
    ) -> None:
        contents.hang("first")
        contents.fail("second", ClaimStoreUnavailable("slow down"))
        contents.fail("third", ZeroDivisionError())
        contents.remove("fourth")
        contents.go_on.set()

        assert contents.removals.wait(ENOUGH_SECONDS) == 0
        assert contents.removed == ["first", "fourth"]
        assert "claim second: its contents are left to expire: slow down" in caplog.text
        assert "claim third: its contents are left to expire" in caplog.text

    def test_closing_leaves_what_would_take_too_long(
        self, contents: Contents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        contents.hang("first")
        monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.01)
        contents.remove("second")

        contents.removals.close()

        contents.go_on.set()
        wait_for(lambda: not threads(), "the thread to end")
        assert contents.removed == ["first"]
        assert "claim second: its contents are left to expire: too many wait" in caplog.text


def test_a_machine_without_threads_removes_at_once_and_once(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for number in range(20):
        contents.remove(str(number))

    assert contents.removed == [str(number) for number in range(20)]
    assert contents.removals.wait(0) == 0


class TestFinishing:
    def test_waits_for_all(self, contents: Contents) -> None:
        contents.hang("first")
        other = Contents(Removals())
        other.hang("second")
        threading.Timer(0.05, other.go_on.set).start()
        threading.Timer(0.1, contents.go_on.set).start()

        finish()

        assert (contents.removed, other.removed) == (["first"], ["second"])
        other.removals.close()

    def test_is_bounded_and_says_what_is_left(
        self, contents: Contents, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "FINISH_SECONDS", 0.01)
        contents.hang("first")
        contents.hang("second")

        with caplog.at_level(logging.WARNING):
            finish()
            monkeypatch.setattr(module, "FINISH_SECONDS", 10 * ENOUGH_SECONDS)
            finish()  # a worker has waited for them: the end of its program does not once more

        (record,) = caplog.records
        assert "the contents of 2 claims are not removed yet" in record.getMessage()

    @threads_are_there
    def test_a_child_waits_for_none_of_its_parent(self, contents: Contents) -> None:
        contents.hang("first")

        def work(_: int) -> list[str]:
            own = Contents(Removals())
            own.remove("the child's")
            module.FINISH_SECONDS = 10 * ENOUGH_SECONDS  # longer than a child may take
            finish()
            return own.removed

        (child,) = fork(work)
        assert child.result() == ["the child's"]


class TestInLambda:
    """The function may answer next, and stands still then."""

    @pytest.fixture(autouse=True)
    def in_lambda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")

    def test_who_asks_waits(self) -> None:
        contents = Contents(Removals())
        threading.Timer(0.1, contents.go_on.set).start()

        contents.hang("first")

        assert contents.removed == ["first"]
        contents.removals.close()

    def test_a_store_that_does_not_answer_is_waited_for_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        contents = Contents(Removals())
        monkeypatch.setattr(module, "FINISH_SECONDS", 0.01)
        contents.hang("first")
        monkeypatch.setattr(module, "FINISH_SECONDS", 10 * ENOUGH_SECONDS)

        contents.hang("second")  # does not wait

        assert contents.removed == []
        contents.go_on.set()
        contents.removals.close()
        assert sorted(contents.removed) == ["first", "second"]
