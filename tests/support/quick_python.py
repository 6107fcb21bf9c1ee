"""Python processes that start in a moment: each is forked from a process that has the libraries.

    subprocess.run([*quick_python(), "-m", "letsgo_queue.cli.app", "queue", "list"], env=...)

`quick_python()` stands where `sys.executable` would. It is a launcher that takes no time to start.
It passes arguments, environment, folder and streams to a server, and signals to the process that
the server forks. That ends as any other does, and so does the launcher.

It is no stand-in where a test is about what a process loads or how much memory it has, nor where
one is killed: it would outlive its launcher for a moment.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from _pytest.config import default_plugins

from tests.conftest import SETTINGS

_LOADED = (
    *("asyncio", "concurrent.futures.thread", "importlib.metadata", "multiprocessing.context"),
    *("h11", "pydantic.main", "pydantic.type_adapter", "zstandard"),
    *("typer.main", "rich.console", "rich.progress", "rich.table"),
    *("boto3.session", "boto3.dynamodb.types", "botocore.session", "pynamodb.connection"),
    *("pytest", *(f"_pytest.{each}" for each in default_plugins)),
    # Nothing of a `cli` package: it sees what its terminal can do when it is loaded.
    *("letsgo_queue.admin.sqlite", "letsgo_queue.admin.sqs", "letsgo_queue.sending.client"),
    *("letsgo_queue.transports.memory", "letsgo_queue.transports.sqlite"),
    *("letsgo_queue.transports.sqs", "letsgo_queue.local_http.server"),
    *("letsgo_queue.worker.several", "letsgo_queue.worker.worker"),
    *("claimcheck.middleware", "claimcheck.settings", "claimcheck.unwrap"),
    *("claimcheck.stores.dynamodb", "claimcheck.stores.dynamodb_table"),
    *("claimcheck.stores.dynamodb_bucket", "claimcheck.stores.sqlite"),
    *("claimcheck.stores.s3", "claimcheck.stores.s3_bucket"),
    # Not the plugin itself: pytest has a word with those that it finds loaded.
    *("claimcheck.audit.settings", "claimcheck.audit.recorder", "claimcheck.audit.text"),
)
_HERE = Path(__file__).parent


@functools.cache
def quick_python() -> Sequence[str]:
    """What a command line begins with, in place of `sys.executable`."""
    stack, owner = ExitStack(), os.getpid()

    def close() -> None:
        if os.getpid() == owner:  # and not a process that a test forked
            stack.close()

    atexit.register(close)
    # Not pytest's folder, whose path is too long for a socket.
    folder = tempfile.mkdtemp()
    stack.callback(shutil.rmtree, folder)
    socket = f"{folder}/python"
    server = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.quick_server", socket, *_LOADED],
            cwd=_HERE.parents[1],
            env={k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)},
            stdin=subprocess.PIPE,  # it ends with it
            stdout=subprocess.PIPE,
        )
    )
    assert server.stdout is not None
    assert server.stdout.readline(), "the server of quick_python ended"
    return sys.executable, "-I", "-S", str(_HERE / "quick_launcher.py"), socket
