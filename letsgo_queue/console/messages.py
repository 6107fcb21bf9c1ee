"""Shows the messages that wait on a queue; on SQS only on request, since it has to receive them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from letsgo_queue.admin.watch import MessageState, PeekedMessage
from letsgo_queue.console.bodies import Bodies
from letsgo_queue.console.extension import Extension
from letsgo_queue.console.pages import Pages, number_in
from letsgo_queue.console.queues import ConsoleQueue, queue_of
from letsgo_queue.log import get_logger

logger = get_logger(__name__)


class MessagePages:
    """The pages of messages that wait.

    Attributes:
        routes: These pages.
    """

    def __init__(
        self,
        pages: Pages,
        queues: Sequence[ConsoleQueue],
        extensions: Sequence[Extension],
        *,
        read_only: bool,
    ) -> None:
        """Set the queues that the pages show."""
        self._pages = pages
        self._queues = queues
        self._bodies = Bodies(extensions)
        self._read_only = read_only
        here = "/queues/{queue:int}/messages"
        self.routes = [
            Route(here, self._list),
            Route(here, self._look, methods=["POST"]),
            # An id in a SQLite file may have a slash in it.
            Route(f"{here}/{{message_id:path}}/payload", partial(self._show, with_payload=True)),
            Route(f"{here}/{{message_id:path}}/download", self._download),
            Route(f"{here}/{{message_id:path}}", self._show),
        ]

    def _list(self, request: Request) -> Response:
        queue = queue_of(request, self._queues)
        asked = request.query_params.get("state")
        state = cast("MessageState", asked) if asked in get_args(MessageState) else None
        after = number_in(request.query_params, "after")
        peek = queue.peek(after=after, state=state)
        return self._pages.render(
            request,
            "messages.html",
            queue=queue,
            messages=peek.messages,
            after=peek.after,
            state=state,
            states=get_args(MessageState),
            look=queue.looked_at_messages,
            begun=after is not None,
        )

    async def _look(self, request: Request) -> Response:
        queue = queue_of(request, self._queues)
        if self._read_only:
            raise HTTPException(403, "This console was started with --read-only: it receives none.")
        logger.info("console: looks at messages of %s", queue.url)
        await run_in_threadpool(queue.look_at_messages)
        return RedirectResponse(request.url.path, 303)

    def _show(self, request: Request, *, with_payload: bool = False) -> Response:
        queue, message = self._found(request)
        payload = self._bodies.shown(message.body, queue=queue.url) if with_payload else None
        return self._pages.render(
            request, "message.html", queue=queue, message=message, payload=payload
        )

    def _download(self, request: Request) -> Response:
        queue, message = self._found(request)
        return self._bodies.download(message.body, queue=queue.url, message_id=message.message_id)

    def _found(self, request: Request) -> tuple[ConsoleQueue, PeekedMessage]:
        queue = queue_of(request, self._queues)
        message = queue.message(request.path_params["message_id"])
        if message is None:
            raise HTTPException(404, "This message is not on the queue any more.")
        return queue, message
