"""What somebody had the console do to dead letters, while it is done and afterwards."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from letsgo_queue.admin import DeadLetterFilter, LetterResult
from letsgo_queue.console.queues import ConsoleQueue
from letsgo_queue.errors import DeadLettersLeft, LetsGoError
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted

logger = get_logger(__name__)

Action: TypeAlias = Literal["redrive", "delete"]

MOST_KEPT = 20
"""Jobs whose results can still be seen."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    Attributes:
        results: What became of each letter so far.
        over: Whether it is over.
        problem: What ended it early.
    """

    results: Sequence[LetterResult]
    over: bool
    problem: str | None

    @property
    def failed(self) -> int:
        """How many letters are dead letters still, though they were tried."""
        return sum(each.error is not None for each in self.results)


class Job:
    """Redrives or deletes dead letters on a thread.

    Attributes:
        number: Which it is.
        queue: Whose dead letters.
        action: What is done to them.
        total: How many are meant.
    """

    def __init__(
        self, number: int, queue: ConsoleQueue, action: Action, ids: Collection[str]
    ) -> None:
        """Do nothing yet."""
        self.number = number
        self.queue = queue
        self.action = action
        self.total = len(ids)
        self._ids = ids
        self._results: list[LetterResult] = []
        self._over = False
        self._problem: str | None = None

    @property
    def progress(self) -> Progress:
        """How far it is."""
        over, problem = self._over, self._problem  # before the results, of which none comes later
        return Progress([*self._results], over, problem)

    def start(self) -> None:
        """Begin."""
        name = f"letsgo-console-{self.action}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        admin = self.queue.admin
        do: Mapping[Action, Callable[..., int]] = {"redrive": admin.redrive, "delete": admin.delete}
        try:
            do[self.action](only=DeadLetterFilter(ids=self._ids), progress=self._note)
        except DeadLettersLeft:
            pass  # each is among the results
        except LetsGoError as error:
            self._problem = str(error)
        except Exception:  # a defect; the page must not wait for ever
            logger.exception("console: %s failed", self.action)
            self._problem = "The console failed; its log says why."
        self._over = True
        done = self.progress
        logger.info(
            "console: %s of %s of %s is over: %d done, %d failed",
            self.action,
            counted(self.total, "dead letter"),
            self.queue.url,
            len(done.results) - done.failed,
            done.failed,
        )

    def _note(self, result: LetterResult) -> None:
        self._results.append(result)
        if result.error is None:
            self.queue.forget(result.message_id)


class Jobs:
    """The last jobs of a console."""

    def __init__(self) -> None:
        """None yet."""
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}

    def start(self, queue: ConsoleQueue, action: Action, ids: Collection[str]) -> Job:
        """Redrive or delete dead letters.

        Args:
            queue: Whose.
            action: What is done to them.
            ids: Which.
        """
        job = Job(next(self._numbers), queue, action, ids)
        self._jobs[job.number] = job
        while len(self._jobs) > MOST_KEPT:
            del self._jobs[min(self._jobs)]
        logger.info(
            "console: %s of %s of %s begins", action, counted(len(ids), "dead letter"), queue.url
        )
        job.start()
        return job

    def get(self, number: int) -> Job | None:
        """A job; None if it is forgotten."""
        return self._jobs.get(number)
