"""A store with a test in between: something happens before or after a step, or the step fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from claimcheck import ClaimStore, ClaimStoreUnavailable
from claimcheck.stores.base import Contents, Reading

Action = Callable[[], object]

ALWAYS = 1_000_000


class Watched:
    """Passes everything on to a store.

    Attributes:
        store: The same, for type checkers.
        behind: The store behind it, which nothing happens to.
        calls: How often each method was called.
    """

    def __init__(self, behind: ClaimStore) -> None:
        self.calls: Counter[str] = Counter()
        self.behind = behind
        self._before: dict[str, list[Action]] = {}
        self._after: dict[str, list[Action]] = {}
        self._readings: list[Callable[[Reading], Reading]] = []

    @property
    def store(self) -> ClaimStore:
        return cast("ClaimStore", self)

    def before(self, method: str, action: Action, *, times: int = 1) -> None:
        """Have `action` happen before the next calls of a method."""
        self._before.setdefault(method, []).extend([action] * min(times, 1_000))

    def after(self, method: str, action: Action) -> None:
        """Have `action` happen after the next call of a method."""
        self._after.setdefault(method, []).append(action)

    def fail(self, method: str, *, times: int = 1) -> None:
        """Have the next calls of a method fail, with nothing done."""
        self.before(method, _no_answer, times=times)

    def lose_answer(self, method: str) -> None:
        """Have the next call of a method take effect, and fail all the same."""
        self.after(method, _no_answer)

    def fail_reading(self) -> None:
        """Have the next contents that are read fail when they are waited for."""
        self._readings.append(lambda _: _Unreadable())

    def read_early(self) -> None:
        """Have the next contents be read to the end as soon as they are asked for."""
        self._readings.append(_Early)

    def recover(self) -> None:
        """Have nothing more happen."""
        self._before.clear()
        self._after.clear()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.behind, name)
        if not callable(found):
            return found

        def call(*args: object, **kwargs: object) -> object:
            self.calls[name] += 1
            _next(self._before, name)
            answer = found(*args, **kwargs)
            if name == "read" and self._readings:
                answer = self._readings.pop(0)(answer)
            _next(self._after, name)
            return answer

        return call


class _Early:
    def __init__(self, reading: Reading) -> None:
        self._contents = reading.result()

    def result(self) -> Contents | None:
        return self._contents

    def cancel(self) -> None:
        """It is over."""


class _Unreadable:
    def result(self) -> Contents | None:
        raise ClaimStoreUnavailable("the test says so")

    def cancel(self) -> None:
        """It never began."""


def _next(actions: dict[str, list[Action]], method: str) -> None:
    if waiting := actions.get(method):
        waiting.pop(0)()


def _no_answer() -> None:
    raise ClaimStoreUnavailable("the test says so")
