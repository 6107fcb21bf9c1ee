"""Carries out a task on many things, and shows its progress and its results.

A page that asks ──> `Jobs.start` ──> a page with a bar, then with a result for each thing
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from letsgo_queue.console.pages import Pages
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted

logger = get_logger(__name__)

MOST_KEPT = 20
"""How many jobs keep their results on show."""

SHOWN_RESULTS = 500
STREAM_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Result:
    """The result for one thing.

    Attributes:
        id: Its id.
        type: The message's type, if that is known.
        error: Why the task failed on it; None if it succeeded.
    """

    id: str
    type: str | None
    error: str | None


Note: TypeAlias = Callable[[Result], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task on many things.

    Attributes:
        verb: `delete`.
        done: `deleted`.
        noun: The word for each thing: `dead letter`.
        place: The URL of the queue or store that has them.
        total: How many things it is for.
        back: The path of their list.
        run: Carries out the task, and calls its argument with each result.
    """

    verb: str
    done: str
    noun: str
    place: str
    total: int
    back: str
    run: Callable[[Note], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job.

    Attributes:
        results: The results so far.
        over: Whether it is over.
        problem: The error that ended it early.
    """

    results: Sequence[Result]
    over: bool
    problem: str | None

    @property
    def failed(self) -> int:
        """On how many things the task failed."""
        return sum(each.error is not None for each in self.results)


class Job:
    """Carries out a task on a thread.

    Attributes:
        number: Its number, counted from 1.
        task: The task that it carries out.
    """

    def __init__(self, number: int, task: Task) -> None:
        """Prepare a job, without starting it."""
        self.number = number
        self.task = task
        self._results: list[Result] = []
        self._over = False
        self._problem: str | None = None

    @property
    def progress(self) -> Progress:
        """Its progress so far."""
        over, problem = self._over, self._problem  # read first: once over, no result is added
        return Progress([*self._results], over, problem)

    def start(self) -> None:
        """Start the task on a thread of its own."""
        name = f"letsgo-console-{self.task.verb}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        task = self.task
        try:
            task.run(self._results.append)
        except LetsGoError as error:
            self._problem = str(error)
        except Exception:  # a defect; the page must not wait forever
            logger.exception("console: %s failed", task.verb)
            self._problem = "The console failed; its log says why."
        self._over = True
        done = self.progress
        logger.info(
            "console: %s of %s of %s is over: %d done, %d failed",
            task.verb,
            counted(task.total, task.noun),
            task.place,
            len(done.results) - done.failed,
            done.failed,
        )


class Jobs:
    """The last jobs of a console."""

    def __init__(self) -> None:
        """Begin with no jobs."""
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}

    def start(self, task: Task) -> str:
        """Begin a task.

        Returns:
            The path of the page that shows its progress.
        """
        job = Job(next(self._numbers), task)
        self._jobs[job.number] = job
        while len(self._jobs) > MOST_KEPT:
            del self._jobs[min(self._jobs)]
        logger.info(
            "console: %s of %s of %s begins", task.verb, counted(task.total, task.noun), task.place
        )
        job.start()
        return f"/jobs/{job.number}"

    def get(self, number: int) -> Job | None:
        """Return a job; None if it is forgotten."""
        return self._jobs.get(number)


class JobPages:
    """The pages of jobs.

    Attributes:
        routes: These pages.
    """

    def __init__(self, pages: Pages, jobs: Jobs, *, is_ending: Callable[[], bool]) -> None:
        """Set the jobs that the pages show."""
        self._pages = pages
        self._jobs = jobs
        self._is_ending = is_ending
        self.routes = [
            Route("/jobs/{job:int}", self._show),
            Route("/jobs/{job:int}/progress", self._progress),
        ]

    def _show(self, request: Request) -> Response:
        job = self._job_of(request)
        return self._pages.render(
            request,
            "job.html",
            job=job,
            task=job.task,
            progress=job.progress,
            shown_results=SHOWN_RESULTS,
        )

    def _progress(self, request: Request) -> Response:
        stream = self._follow(self._job_of(request))
        return StreamingResponse(stream, media_type="text/event-stream")

    def _job_of(self, request: Request) -> Job:
        job = self._jobs.get(request.path_params["job"])
        if job is None:
            raise HTTPException(404, "The console does not remember this.")
        return job

    async def _follow(self, job: Job) -> AsyncIterator[str]:
        told = -1
        while not self._is_ending():
            progress = job.progress
            if progress.over or len(progress.results) != told:
                told = len(progress.results)
                what = {"done": told, "total": job.task.total, "over": progress.over}
                yield f"data: {json.dumps(what)}\n\n"
            if progress.over:
                return
            await asyncio.sleep(STREAM_SECONDS)
