"""The console's pages, put together.

access.py      who may ask
overview.py    all queues at a glance
messages.py    messages that wait on a queue
letters.py     its dead letters
jobs.py        tasks on many things, with a progress bar and each result
listing.py     a list that is filtered, sorted, and shown page by page
extension.py   parts that other packages add, such as claims
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from letsgo_queue.console.access import Access
from letsgo_queue.console.extension import ConsoleOptions, Extension, load_extensions
from letsgo_queue.console.jobs import JobPages, Jobs
from letsgo_queue.console.letters import LetterPages
from letsgo_queue.console.messages import MessagePages
from letsgo_queue.console.overview import OverviewPages
from letsgo_queue.console.pages import Pages
from letsgo_queue.console.queues import ConsoleQueue
from letsgo_queue.errors import LetsGoError
from letsgo_queue.settings import QueueSettings
from letsgo_queue.text import shown


def make_site(
    options: ConsoleOptions,
    settings: QueueSettings,
    *,
    token: str,
    hosts: Sequence[str],
    is_ending: Callable[[], bool] = lambda: False,
    extensions: Sequence[Extension] | None = None,
) -> ASGIApp:
    """Make the console, as an application for a server.

    Args:
        options: Which queues it shows, and what it may do.
        settings: They name the queue if the options have no URL.
        token: Whoever has it may use the console.
        hosts: The names under which requests may ask for it, each with its port.
        is_ending: Whether the server is about to end; then live pages get no more numbers.
        extensions: The extensions of other packages; by default all that are installed.

    Raises:
        SettingsInvalid: A URL names no queue.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    if extensions is None:
        extensions = load_extensions(options)
    queues = [
        ConsoleQueue(number, url, settings) for number, url in enumerate(options.queues or [None])
    ]
    pages = Pages([each.templates for each in extensions])
    jobs = Jobs()
    sections = [section for each in extensions for section in each.sections(pages, jobs)]
    pages.say(queues=queues, sections=sections, read_only=options.read_only)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        for queue in queues:
            queue.start()
        for extension in extensions:
            extension.start()
        try:
            yield
        finally:
            for queue in queues:
                queue.close()
            for extension in extensions:
                extension.close()

    async def on_problem(request: Request, error: Exception) -> Response:
        status, text = 500, "The console failed; its log says why."
        if isinstance(error, HTTPException):
            status, text = error.status_code, error.detail
            if text == HTTPStatus(status).phrase:  # the router's own text
                text = f"The console has no page {shown(request.url.path)}."
        elif isinstance(error, LetsGoError):
            status, text = 502, str(error)
        return pages.render(request, "problem.html", status=status, problem=text)

    app = Starlette(
        routes=[
            *OverviewPages(pages, queues, extensions, is_ending=is_ending).routes,
            *MessagePages(pages, queues, extensions, read_only=options.read_only).routes,
            *LetterPages(
                pages,
                queues,
                extensions,
                jobs,
                read_only=options.read_only,
            ).routes,
            *JobPages(pages, jobs, is_ending=is_ending).routes,
            *(route for section in sections for route in section.routes),
            Mount("/static", StaticFiles(packages=[("letsgo_queue.console", "static")])),
        ],
        exception_handlers={HTTPException: on_problem, LetsGoError: on_problem, 500: on_problem},
        lifespan=lifespan,
    )
    # The guard is around everything, so it guards answers to errors as well.
    return Access(app, token=token, hosts=hosts)
