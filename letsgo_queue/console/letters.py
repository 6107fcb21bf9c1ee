"""Dead letters: which there are and why, and redriving or deleting them, after a page that asks.

list, filter, select ──> confirm ──> work, with a result for each letter
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast, get_args
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from letsgo_queue.admin import DeadLetter, DeadLetterFilter
from letsgo_queue.console.bodies import Bodies
from letsgo_queue.console.extension import Extension
from letsgo_queue.console.pages import Pages, choices, form_of, number_in
from letsgo_queue.console.queues import ConsoleQueue, queue_of
from letsgo_queue.console.work import Action, Work, Works
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

PAGE_LETTERS = 100
STREAM_SECONDS = 0.3
SHOWN_RESULTS = 500

AGES = {"1 hour": 3600, "1 day": 86_400, "7 days": 604_800}
"""What the filter offers, in seconds."""

SORTED_BY: Mapping[str, Callable[[DeadLetter], object]] = {
    "age": lambda letter: letter.since,
    "type": lambda letter: letter.type or "",
    "error": lambda letter: (letter.failure and letter.failure.error) or "",
    "attempts": lambda letter: letter.attempts,
    "size": lambda letter: letter.whole_size or letter.size,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters a page shows, as its address says.

    Attributes:
        type: Of this type; empty for all.
        error: With this class of error; empty for all.
        age: Older than this, a key of `AGES`; empty for all.
        sort: What they are sorted by, a key of `SORTED_BY`.
        down: Whether the highest comes first.
    """

    type: str = ""
    error: str = ""
    age: str = ""
    sort: str = "age"
    down: bool = False

    @classmethod
    def of(cls, query: QueryParams) -> Wanted:
        """Read an address; what it does not know, it leaves out."""
        sort, age = query.get("sort", ""), query.get("age", "")
        return cls(
            type=query.get("type", ""),
            error=query.get("error", ""),
            age=age if age in AGES else "",
            sort=sort if sort in SORTED_BY else "age",
            down=query.get("down") == "1",
        )

    def among(self, letters: Sequence[DeadLetter], now: datetime) -> Sequence[DeadLetter]:
        """These letters, in order."""
        wanted = DeadLetterFilter(
            types=[self.type] if self.type else None,
            errors=[self.error] if self.error else None,
            older_than=AGES.get(self.age),
        )
        found = [each for each in letters if wanted.matches(each, now)]
        # Whatever it sorts by, what it is sorted by compares with itself.
        found.sort(key=cast("Callable[[DeadLetter], str]", SORTED_BY[self.sort]), reverse=self.down)
        return found

    def query(self, **changes: object) -> str:
        """The address of a page that differs in this."""
        values = {
            "type": self.type,
            "error": self.error,
            "age": self.age,
            "sort": self.sort,
            "down": "1" if self.down else "",
            **changes,
        }
        return urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, column: str) -> str:
        """The address that sorts by a column, and the other way round where it is sorted by it."""
        down = "1" if self.sort == column and not self.down else ""
        return self.query(sort=column, down=down)


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
        works: Works,
        *,
        read_only: bool,
        is_ending: Callable[[], bool],
    ) -> None:
        """Name what is shown."""
        self._is_ending = is_ending
        self._pages = pages
        self._queues = queues
        self._bodies = Bodies(extensions)
        self._works = works
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
            Route("/work/{work:int}", self._work),
            Route("/work/{work:int}/progress", self._progress),
        ]

    def _list(self, request: Request) -> Response:
        queue = queue_of(request, self._queues)
        wanted = Wanted.of(request.query_params)
        look = queue.letters()
        letters = [*look.letters.values()] if look else []
        found = wanted.among(letters, datetime.now(UTC))
        page = number_in(request.query_params, "page")
        first = (page - 1) * PAGE_LETTERS if page else 0
        return self._pages.render(
            request,
            "letters.html",
            queue=queue,
            look=look,
            wanted=wanted,
            all_count=len(letters),
            found_count=len(found),
            letters=found[first : first + PAGE_LETTERS],
            first=first,
            last_page=max((len(found) - 1) // PAGE_LETTERS, 0) + 1,
            page=first // PAGE_LETTERS + 1,
            ages=AGES,
            columns=[*SORTED_BY],
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
            wanted = Wanted.of(QueryParams(form["query"][0] if form.get("query") else ""))
            meant = wanted.among([*letters.values()], datetime.now(UTC))
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
        work = self._works.start(queue, _action_in(form), ids)
        return RedirectResponse(f"/work/{work.number}", 303)

    def _work(self, request: Request) -> Response:
        work = self._work_of(request)
        return self._pages.render(
            request,
            "work.html",
            work=work,
            doing=work.doing,
            shown_results=SHOWN_RESULTS,
        )

    def _progress(self, request: Request) -> Response:
        return StreamingResponse(
            self._follow(self._work_of(request)), media_type="text/event-stream"
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

    def _work_of(self, request: Request) -> Work:
        work = self._works.get(request.path_params["work"])
        if work is None:
            raise HTTPException(404, "The console does not remember this.")
        return work

    async def _follow(self, work: Work) -> AsyncIterator[str]:
        told = -1
        while not self._is_ending():
            doing = work.doing
            if doing.over or len(doing.results) != told:
                told = len(doing.results)
                what = {"done": told, "total": work.total, "over": doing.over}
                yield f"data: {json.dumps(what)}\n\n"
            if doing.over:
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
