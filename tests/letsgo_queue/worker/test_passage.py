"""A message's way through its middleware, in and out again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from letsgo_queue import Middleware, SettingsInvalid, Steps
from letsgo_queue.middleware import check_handle
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.passage import Passage, surrounding
from tests.letsgo_queue.support import incoming

BODY = '{"type":"order:new"}'


@dataclass(eq=False)
class Trace(Middleware):
    """Notes what happens, and raises or swallows what it is told to."""

    name: str
    steps: list[str] = field(default_factory=list)
    fails_in: Exception | None = None
    fails_out: Exception | None = None
    swallows: bool = False
    settles: bool = False
    waits: bool = False

    def blocks(self, message: IncomingMessage, /) -> bool:
        return self.waits

    def handle(self, message: IncomingMessage, /) -> Steps:
        if self.settles:
            return
        if self.fails_in:
            raise self.fails_in
        self.steps.append(f"{self.name} in")
        try:
            yield
        except ValueError as error:
            self.steps.append(f"{self.name} saw {error}")
            if not self.swallows:
                raise
        if self.fails_out:
            raise self.fails_out
        self.steps.append(f"{self.name} out")


def test_goes_in_from_outside_and_out_from_inside() -> None:
    steps: list[str] = []
    passage = Passage((Trace("a", steps), Trace("b", steps)), incoming(BODY))

    assert passage.enter()
    passage.leave()

    assert steps == ["a in", "b in", "b out", "a out"]


def test_an_error_goes_out_through_all() -> None:
    steps: list[str] = []
    error = ValueError("trouble")
    passage = Passage((Trace("a", steps), Trace("b", steps)), incoming(BODY))
    passage.enter()

    with pytest.raises(ValueError, match="trouble") as raised:
        passage.leave(error)

    assert raised.value is error
    assert steps == ["a in", "b in", "b saw trouble", "a saw trouble"]


def test_one_may_keep_an_error_to_itself() -> None:
    steps: list[str] = []
    passage = Passage((Trace("a", steps), Trace("b", steps, swallows=True)), incoming(BODY))
    passage.enter()

    passage.leave(ValueError("trouble"))

    assert steps == ["a in", "b in", "b saw trouble", "b out", "a out"]


def test_one_that_fails_on_the_way_in_is_not_gone_out_of() -> None:
    steps: list[str] = []
    error = ValueError("shut")
    passage = Passage((Trace("a", steps), Trace("b", steps, fails_in=error)), incoming(BODY))

    with pytest.raises(ValueError, match="shut") as raised:
        passage.enter()
    with pytest.raises(ValueError, match="shut"):
        passage.leave(raised.value)

    assert steps == ["a in", "a saw shut"]


def test_one_that_fails_on_the_way_out_tells_those_outside() -> None:
    steps: list[str] = []
    error = ValueError("late")
    passage = Passage((Trace("a", steps), Trace("b", steps, fails_out=error)), incoming(BODY))
    passage.enter()

    with pytest.raises(ValueError, match="late"):
        passage.leave()

    assert steps == ["a in", "b in", "a saw late"]


def test_one_that_does_not_yield_settles_the_message() -> None:
    steps: list[str] = []
    passage = Passage((Trace("a", steps), Trace("b", steps, settles=True)), incoming(BODY))

    assert not passage.enter()
    passage.leave()

    assert steps == ["a in", "a out"]


def test_one_that_yields_twice_is_told() -> None:
    class Twice(Middleware):
        def handle(self, message: IncomingMessage, /) -> Steps:
            yield
            yield

    passage = Passage((Twice(),), incoming(BODY))
    passage.enter()

    with pytest.raises(RuntimeError, match="yields more than once"):
        passage.leave()


def test_one_that_is_no_generator_is_refused() -> None:
    class Plain(Middleware):
        def handle(self, message: IncomingMessage, /) -> Steps:
            return None  # type: ignore[return-value]  # that is the mistake

    with pytest.raises(SettingsInvalid, match=r"Plain\.handle is no generator"):
        check_handle(Plain())


def test_blocks_where_one_of_them_does() -> None:
    message = incoming(BODY)

    assert not Passage((), message).blocks
    assert not Passage((Trace("a"),), message).blocks
    assert Passage((Trace("a"), Trace("b", waits=True)), message).blocks


def test_middleware_that_only_sends_is_not_gone_through() -> None:
    trace = Trace("a")

    assert surrounding((Middleware(), trace)) == (trace,)
