"""Dead letters: which there are and why, and redriving or deleting them, after a page that asks.

list, filter, select ──> confirm ──> job, with a result for each letter
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from letsgo_queue.admin import DeadLetter, DeadLetterFilter
from letsgo_queue.console.bodies import Bodies
from letsgo_queue.console.extension import Extension
from letsgo_queue.console.jobs import Action, Job, Jobs
from letsgo_queue.console.listing import DAY, HOUR, Paged, Wanted
from letsgo_queue.console.pages import Pages, choices, form_of
from letsgo_queue.console.queues import ConsoleQueue, queue_of
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

STREAM_SECONDS = 0.3
SHOWN_RESULTS = 500


@dataclass(frozen=True, slots=True)
class WantedLetters(Wanted[DeadLetter]):
    """Which dead letters a page shows.

    Attributes:
        error: With this class of error; empty for all.
    """

    AGES: ClassVar[Mapping[str, int]] = {"1 hour": HOUR, "1 day": DAY, "7 days": 7 * DAY}
    SORTED_BY: ClassVar[Mapping[str, Callable[[DeadLetter], object]]] = {
        "age": lambda letter: letter.since,
        "type": lambda letter: letter.type or "",
        "error": lambda letter: (letter.failure and letter.failure.error) or "",
        "attempts": lambda letter: letter.attempts,
        "size": lambda letter: letter.whole_size or letter.size,
    }

    error: str = ""
    sort: str = "age"

    def among(self, letters: Iterable[DeadLetter], now: datetime) -> Sequence[DeadLetter]:
        """These of the letters, in order."""
        meant = DeadLetterFilter(
            types=[self.type] if self.type else None,
            errors=[self.error] if self.error else None,
            older_than=self.AGES.get(self.age),
        )
        return self.in_order([each for each in letters if meant.matches(each, now)])


class LetterPages:
    """The pages of dead letters.

    Attributes:
        routes: These pages.
    """

    def __init__(
        self,
        pages: Pages,
        queues: Sequence[ConsoleQueue],
        extensions: Sequence[Extension],
        jobs: Jobs,
        *,
        read_only: bool,
        is_ending: Callable[[], bool],
    ) -> None:
        """Name what is shown."""
        self._is_ending = is_ending
        self._pages = pages
        self._queues = queues
        self._bodies = Bodies(extensions)
        self._jobs = jobs
        self._read_only = read_only
        here = "/queues/{queue:int}/dead-letters"
        self.routes = [
            Route(here, self._list),
            Route(f"{here}/look", self._look, methods=["POST"]),
            Route(f"{here}/confirm", self._confirm, methods=["POST"]),
            Route(f"{here}/do", self._do, methods=["POST"]),
            Route(f"{here}/{{message_id:path}}/payload", self._payload),
            Route(f"{here}/{{message_id:path}}/download", self._download),
            Route(f"{here}/{{message_id:path}}", self._show),
            Route("/jobs/{job:int}", self._job),
            Route("/jobs/{job:int}/progress", self._progress),
        ]

    def _list(self, request: Request) -> Response:
        queue = queue_of(request, self._queues)
        wanted = WantedLetters.of(request.query_params)
        look = queue.letters()
        letters = [*look.letters.values()] if look else []
        found = wanted.among(letters, datetime.now(UTC))
        return self._pages.render(
            request,
            "letters.html",
            queue=queue,
            look=look,
            wanted=wanted,
            all_count=len(letters),
            page=Paged.of(found, request.query_params),
            types=choices(each.type for each in letters),
            errors=choices(each.failure.error for each in letters if each.failure),
        )

    async def _look(self, request: Request) -> Response:
        self._refuse_if_read_only()
        queue = queue_of(request, self._queues)
        logger.info("console: lists the dead letters of %s", queue.url)
        await run_in_threadpool(queue.look_at_letters)
        return RedirectResponse(f"{queue.path}/dead-letters", 303)

    async def _confirm(self, request: Request) -> Response:
        """Say what would be done, and ask."""
        self._refuse_if_read_only()
        queue = queue_of(request, self._queues)
        form = form_of(await request.body())
        action = _action_in(form)
        look = await run_in_threadpool(queue.letters)
        letters = {} if look is None else look.letters
        if form.get("all") == ["1"]:
            wanted = WantedLetters.of(QueryParams(form["query"][0] if form.get("query") else ""))
            meant = wanted.among(letters.values(), datetime.now(UTC))
        else:
            meant = [letters[each] for each in form.get("id", ()) if each in letters]
        if not meant:
            raise HTTPException(400, "No dead letter is selected. Go back and select some.")
        return self._pages.render(
            request, "confirm.html", queue=queue, action=action, letters=meant
        )

    async def _do(self, request: Request) -> Response:
        self._refuse_if_read_only()
        queue = queue_of(request, self._queues)
        form = form_of(await request.body())
        ids = form.get("id", ())
        if not ids:
            raise HTTPException(400, "No dead letter is selected. Go back and select some.")
        job = self._jobs.start(queue, _action_in(form), ids)
        return RedirectResponse(f"/jobs/{job.number}", 303)

    def _job(self, request: Request) -> Response:
        job = self._job_of(request)
        return self._pages.render(
            request, "job.html", job=job, progress=job.progress, shown_results=SHOWN_RESULTS
        )

    def _progress(self, request: Request) -> Response:
        return StreamingResponse(
            self._follow(self._job_of(request)), media_type="text/event-stream"
        )

    def _show(self, request: Request) -> Response:
        queue, letter = self._found(request)
        return self._pages.render(request, "letter.html", queue=queue, letter=letter, payload=None)

    def _payload(self, request: Request) -> Response:
        queue, letter = self._found(request)
        payload = self._bodies.shown(letter.body, queue=queue.url)
        return self._pages.render(
            request, "letter.html", queue=queue, letter=letter, payload=payload
        )

    def _download(self, request: Request) -> Response:
        queue, letter = self._found(request)
        return self._bodies.download(letter.body, queue=queue.url, message_id=letter.message_id)

    def _found(self, request: Request) -> tuple[ConsoleQueue, DeadLetter]:
        queue = queue_of(request, self._queues)
        letter = queue.letter(request.path_params["message_id"])
        if letter is None:
            raise HTTPException(404, "This message is no dead letter any more.")
        return queue, letter

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
                what = {"done": told, "total": job.total, "over": progress.over}
                yield f"data: {json.dumps(what)}\n\n"
            if progress.over:
                return
            await asyncio.sleep(STREAM_SECONDS)

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise HTTPException(403, "This console was started with --read-only.")


def _action_in(form: Mapping[str, Sequence[str]]) -> Action:
    action = (*form.get("action", ()), "")[0]
    if action not in get_args(Action):
        raise HTTPException(400, "The console redrives and deletes, and nothing else.")
    return cast("Action", action)
