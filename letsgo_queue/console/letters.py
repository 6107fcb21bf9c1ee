"""Lists dead letters and their causes, and redrives or deletes them after a page that asks.

list, filter, select ──> confirm ──> job, with a result for each letter
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar, Literal, TypeAlias, cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from letsgo_queue.admin import DeadLetter, DeadLetterFilter, LetterResult
from letsgo_queue.console.bodies import Bodies
from letsgo_queue.console.extension import Extension
from letsgo_queue.console.jobs import Jobs, Note, Result, Task
from letsgo_queue.console.listing import DAY, HOUR, Paged, Wanted
from letsgo_queue.console.pages import Pages, choices, form_of
from letsgo_queue.console.queues import ConsoleQueue, queue_of
from letsgo_queue.errors import DeadLettersLeft
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

MOST_CAUSES = 10

RECEIVED_TOO_OFTEN = "received too often"
"""The reason of a letter that its queue moved: nobody knows more."""

Action: TypeAlias = Literal["redrive", "delete"]

DONE: Mapping[Action, str] = {"redrive": "redriven", "delete": "deleted"}


def why_of(letter: DeadLetter) -> str:
    """Return the class of a letter's error, without its module; else the reason that was given."""
    if letter.failure is None:
        return RECEIVED_TOO_OFTEN
    error = (letter.failure.error or "").rpartition(".")[2]
    return (
        error if error and letter.failure.reason.endswith(f": {error}") else letter.failure.reason
    )


@dataclass(frozen=True, slots=True)
class WantedLetters(Wanted[DeadLetter]):
    """The filter and the order of the dead letters that a page shows.

    Attributes:
        error: With this class of error; empty for all.
    """

    AGES: ClassVar[Mapping[str, int]] = {"1 hour": HOUR, "1 day": DAY, "7 days": 7 * DAY}
    SORTED_BY: ClassVar[Mapping[str, Callable[[DeadLetter], object]]] = {
        "age": lambda letter: letter.since,
        "type": lambda letter: letter.type or "",
        "error": why_of,
        "attempts": lambda letter: letter.attempts,
        "size": lambda letter: letter.whole_size or letter.size,
    }

    error: str = ""
    sort: str = "age"

    def among(self, letters: Iterable[DeadLetter], now: datetime) -> Sequence[DeadLetter]:
        """Return the letters that fit, in order."""
        meant = DeadLetterFilter(
            types=[self.type] if self.type else None,
            errors=[self.error] if self.error else None,
            older_than=self.AGES.get(self.age),
        )
        return self.in_order([each for each in letters if meant.matches(each, now)])


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters of one type that failed for the same reason at the same place.

    Attributes:
        type: Their type.
        error: The class of their error; empty if they have none.
        why: The reason, for people.
        place: The line of the user's code that raised it.
        count: How many letters.
        last: When the last of them failed.
        meaning: The meaning of an error of these packages; None for other errors.
    """

    type: str
    error: str
    why: str
    place: str
    count: int
    last: datetime
    meaning: str | None


def causes_of(letters: Iterable[DeadLetter]) -> Sequence[Cause]:
    """Return the causes of dead letters, the most frequent first."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    last: dict[tuple[str, str, str, str], datetime] = {}
    meanings: dict[str, str | None] = {}
    for letter in letters:
        failure = letter.failure
        error = (failure and failure.error) or ""
        place = "" if failure is None or failure.place is None else str(failure.place)
        key = letter.type or "", error, why_of(letter), place
        counts[key] += 1
        meanings[error] = None if failure is None else failure.meaning
        last[key] = max(letter.since, last.get(key, letter.since))
    return [
        Cause(*key, count, last[key], meanings[key[1]])
        for key, count in counts.most_common(MOST_CAUSES)
    ]


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
    ) -> None:
        """Set the queues that the pages show."""
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
            Route(f"{here}/{{message_id:path}}/payload", partial(self._show, with_payload=True)),
            Route(f"{here}/{{message_id:path}}/download", self._download),
            Route(f"{here}/{{message_id:path}}", self._show),
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
            causes=causes_of(letters),
            why_of=why_of,
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
        """Say what the console is about to do, and ask."""
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
        return RedirectResponse(self._jobs.start(_task(queue, _action_in(form), ids)), 303)

    def _show(self, request: Request, *, with_payload: bool = False) -> Response:
        queue, letter = self._found(request)
        payload = self._bodies.shown(letter.body, queue=queue.url) if with_payload else None
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

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise HTTPException(403, "This console was started with --read-only.")


def _action_in(form: Mapping[str, Sequence[str]]) -> Action:
    action = (*form.get("action", ()), "")[0]
    if action not in get_args(Action):
        raise HTTPException(400, "The console redrives and deletes, and nothing else.")
    return cast("Action", action)


def _task(queue: ConsoleQueue, action: Action, ids: Sequence[str]) -> Task:
    """Return the task that redrives or deletes letters."""
    admin = queue.admin
    do: Mapping[Action, Callable[..., int]] = {"redrive": admin.redrive, "delete": admin.delete}

    def run(note: Note) -> None:
        def note_letter(result: LetterResult) -> None:
            error = None if result.error is None else str(result.error)
            note(Result(result.message_id, result.type, error))
            if error is None:
                queue.forget(result.message_id)

        with suppress(DeadLettersLeft):  # the results have each error
            do[action](only=DeadLetterFilter(ids=ids), progress=note_letter)

    return Task(
        verb=action,
        done=DONE[action],
        noun="dead letter",
        place=queue.url,
        total=len(ids),
        back=f"{queue.path}/dead-letters",
        run=run,
    )
