"""Tells whether a worker is well, over HTTP and with a file.

    /healthz   200 while the worker's loop turns, 503 when it is stuck: restart it
    /readyz    200 once the queue has answered, 503 before that, and while the worker stops
    /metrics   for Prometheus; needs the extra `metrics`

A queue that cannot be reached does not make a worker unwell: a restart would not help.

The server has a thread of its own, and one for each request, so that a client that hangs keeps
nobody else waiting. It asks the loop without taking a lock: a loop that is stuck holds some.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TypeAlias

from letsgo_queue.errors import SettingsInvalid, WorkerBroken
from letsgo_queue.log import get_logger
from letsgo_queue.worker.options import MAX_PORT

logger = get_logger(__name__)

ALL_ADDRESSES = "0.0.0.0"

STALE_SECONDS = 30.0
"""A loop that has not turned for so long is stuck. It turns four times a second, so no busy machine
explains that; and SQS's usual visibility timeout has passed, so others have its messages."""

OVERDUE_SECONDS = 300.0
"""A request for messages that takes longer hangs: even if all attempts fail, SQS's client ends
within 190 seconds, with the pause after them."""

CLIENT_SECONDS = 5.0
"""How long the server waits for a client that sends or reads nothing."""

MAX_CLIENTS = 32
"""Connections at once, each with a thread and a file of the worker's."""

CLOSE_SECONDS = 0.2
"""How often the server looks whether it should stop."""

TOUCH_SECONDS = 5.0
"""How often the file is touched."""

METRICS_MISSING = "Metrics need prometheus-client: pip install 'letsgo-claimcheck[metrics]'\n"
PATHS = "There are /healthz, /readyz and /metrics.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Where a worker tells that it is well: `worker.run(health=Health(port=8080))`.

    Attributes:
        port: The port for `/healthz`, `/readyz` and `/metrics`, 0 to 65,535; 0 for one that is
            free, None for no server.
        host: The address to listen on. By default all of them: a container is asked from outside.
            Nobody needs a password, so keep the port off the internet.
        file: A file that is touched every 5 seconds while the worker is well.
    """

    port: int | None = None
    host: str = ALL_ADDRESSES
    file: Path | None = None

    def __post_init__(self) -> None:
        """Check the port."""
        if self.port is not None and not 0 <= self.port <= MAX_PORT:
            raise SettingsInvalid(f"health port {self.port}: give 0 to {MAX_PORT:,}.")

    def of_process(self, number: int) -> Health:
        """Return that of one of several processes, from 0: the next port, a file of its own."""
        if number == 0:
            return self
        port = self.port + number if self.port else self.port
        file = self.file and self.file.with_name(f"{self.file.name}.{number}")
        return replace(self, port=port, file=file)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningHandler:
    """A handler that runs.

    Attributes:
        message_id: The id of its message.
        type: The message's type.
        seconds: How long it has run.
    """

    message_id: str
    type: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """The state of a worker's loop. Times are seconds ago; None for never.

    Attributes:
        queue: URL of the queue.
        stopping: Whether it takes no more messages.
        turned: When it last looked for something to do.
        last_poll: When the queue last answered a request for messages.
        poll_overdue: For how many seconds an open request should have been answered.
        last_acknowledgement: When the queue last acknowledged one.
        in_hand: Messages in hand: running, waiting for a handler, or for a claim.
        running: Handlers that run.
        longest: The handler that has run for the longest time.
        over_time: The handlers that have run for longer than they may.
    """

    queue: str
    stopping: bool
    turned: float
    last_poll: float | None
    poll_overdue: float
    last_acknowledgement: float | None
    in_hand: int
    running: int
    longest: RunningHandler | None
    over_time: Sequence[RunningHandler]

    @property
    def healthy(self) -> bool:
        """Whether the loop turns, and its requests end."""
        return self.turned < STALE_SECONDS and self.poll_overdue < OVERDUE_SECONDS

    @property
    def ready(self) -> bool:
        """Whether it takes messages."""
        return self.healthy and self.last_poll is not None and not self.stopping


LookAtLoops: TypeAlias = Callable[[], Sequence[LoopState]]
"""Gives the state of every loop of this process; takes no lock."""


@contextmanager
def watched(health: Health, look: LookAtLoops) -> Iterator[str | None]:
    """Tell whether loops are well, while the block runs.

    Args:
        health: Where.
        look: Looks at the loops.

    Yields:
        The address of the server; None if there is none.

    Raises:
        SettingsInvalid: The port or the file cannot be used.
        WorkerBroken: No thread can be started.
    """
    with ExitStack() as stack:
        url = None
        if health.port is not None:
            url = stack.enter_context(_serving(health.host, health.port, look))
        if health.file is not None:
            stack.enter_context(_touching(health.file, look))
        yield url


# Over HTTP


@contextmanager
def _serving(host: str, port: int, look: LookAtLoops) -> Iterator[str]:
    if find_spec("prometheus_client"):
        from letsgo_queue.metrics import count_all

        count_all()
    try:
        server = _Server(host, port, look)
    except OSError as error:
        raise SettingsInvalid(
            f"a worker cannot answer health checks on {host}:{port} ({error.strerror or error}). "
            "If another worker runs there, stop it or choose another port."
        ) from error
    with server:
        thread = _start("health", lambda: server.serve_forever(CLOSE_SECONDS))
        logger.info("health checks are answered on %s", server.url)
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, TCPServer):
    """Not http.server's own, which looks the name of its host up, and may wait for that."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # for a client that hangs
    request_queue_size = 32

    def __init__(self, host: str, port: int, look: LookAtLoops) -> None:
        self.look = look
        self._clients: OrderedDict[object, socket.socket] = OrderedDict()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Request)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def get_request(self) -> tuple[socket.socket, object]:
        """Take a connection. If there are too many, end the oldest: it may be slow, or hang."""
        client, address = super().get_request()
        if len(self._clients) >= MAX_CLIENTS:
            _, oldest = self._clients.popitem(last=False)
            with suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        self._clients[client] = client
        return client, address

    def close_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._clients.pop(request, None)
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that has gone, or no thread for it: Python would print a traceback.
        logger.debug("a health check was not answered: %s", sys.exc_info()[1])


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer_metrics()
        elif path in {"/healthz", "/readyz"}:
            loops = self.server.look()
            if path == "/healthz":
                ok = all(loop.healthy for loop in loops)
            else:
                ok = bool(loops) and all(loop.ready for loop in loops)
            status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
            document = {"ok": ok, "loops": [asdict(loop) for loop in loops]}
            self._answer(status, "application/json", json.dumps(document, indent=2).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", PATHS.encode())

    do_HEAD = do_GET  # noqa: N815

    def _answer_metrics(self) -> None:
        try:
            from prometheus_client import REGISTRY
            from prometheus_client.exposition import choose_encoder
        except ModuleNotFoundError:
            missing = METRICS_MISSING.encode()
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", missing)
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._answer(HTTPStatus.OK, content_type, encode(REGISTRY))

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "letsgo-queue"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server has it
        """Nothing: probes come every few seconds."""


# With a file


@contextmanager
def _touching(file: Path, look: LookAtLoops) -> Iterator[None]:
    try:
        file.touch()
    except OSError as error:
        raise SettingsInvalid(
            f"the health file {file} cannot be touched ({error.strerror or error}). Choose a file "
            "in a folder that is there and that the worker may write to."
        ) from error
    closed = threading.Event()

    def touch() -> None:
        failing = False
        while not closed.wait(TOUCH_SECONDS):
            if not all(loop.healthy for loop in look()):
                continue
            try:
                file.touch()
                failing = False
            except OSError as error:
                if not failing:
                    logger.warning("the health file %s cannot be touched: %s", str(file), error)
                failing = True

    thread = _start("health-file", touch)
    try:
        yield
    finally:
        closed.set()
        thread.join()


def _start(name: str, target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, name=f"letsgo-worker-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise WorkerBroken(f"the worker's thread {name!r} cannot be started: {error}.") from error
    return thread
