"""`letsgo-queue console`: queues in a browser."""

from __future__ import annotations

import secrets
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from letsgo_queue.cli.logs import configure_logging
from letsgo_queue.cli.terminal import print_line
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.settings import QueueSettings

NEEDED = ("jinja2", "starlette", "uvicorn")
LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 3003
LARGEST_PORT = 65_535
ENDING_SECONDS = 5
"""How long the console waits at its end for a page that is still being made."""


def console(
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", help="Queue URL, repeatable; by default the environment names it."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", help="URL of the claim store; by default CLAIMCHECK_STORE."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="A size audit's report (JSON) to show too.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=LARGEST_PORT, help="The port; 0 for any free port.")
    ] = DEFAULT_PORT,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Change nothing, and receive nothing.")
    ] = False,
) -> None:
    """Show queues, dead letters and claims in a browser on this machine.

    It prints an address with a token: whoever opens that address may use the console.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SettingsInvalid(
            f"the console needs {', '.join(missing)}: pip install 'letsgo-claimcheck[console]'"
        )
    import uvicorn

    from letsgo_queue.console.extension import ConsoleOptions
    from letsgo_queue.console.listening import listen
    from letsgo_queue.console.site import make_site

    configure_logging(None)
    with listen(LOOPBACK, port) as socket:
        port = socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        site = make_site(
            ConsoleOptions(queues=queue or (), store=store, audit=audit, read_only=read_only),
            QueueSettings.from_environment(),
            token=token,
            hosts=[f"{name}:{port}" for name in (LOOPBACK, "localhost")],
            is_ending=lambda: server.should_exit,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                site,
                access_log=False,
                log_config=None,
                log_level="warning",
                timeout_graceful_shutdown=ENDING_SECONDS,
            )
        )

        def end(*_: object) -> None:
            server.should_exit = True

        # The server handles signals itself, and raises them again when it has ended: ignore these.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end)
        print_line(f"http://{LOOPBACK}:{port}/?token={token}")
        server.run(sockets=[socket])
