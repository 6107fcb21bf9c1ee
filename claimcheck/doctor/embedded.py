"""Checks queues that are not on AWS: a SQLite file, a process's memory, LetsGo's local mode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from claimcheck.doctor.findings import Finding, failure, passed, warning
from claimcheck.doctor.sqs import attempts_of
from letsgo_queue.admin import open_admin
from letsgo_queue.files import exists, is_folder, why_unsafe
from letsgo_queue.settings import QueueSettings, split_url
from letsgo_queue.sqlite import path_in
from letsgo_queue.text import counted
from letsgo_queue.transports.sqlite import SqliteTransport

if TYPE_CHECKING:
    from letsgo_queue.worker.worker import Worker


def check_embedded(url: str, worker: Worker | None) -> Iterator[Finding]:
    """Check that messages of the queue can be kept.

    Args:
        url: The queue's URL.
        worker: The worker of its messages, if it is known.
    """
    scheme = split_url(url).scheme
    if scheme == "memory":
        yield warning(
            "queue", f"{url} is in the memory of each process, and gone with it", advice="for tests"
        )
    elif scheme == "sqlite":
        yield from _check_file(url)
        yield from _check_redrive(url, worker)
    else:
        yield passed("queue", f"{url}: LetsGo's local mode, nothing has to be made")


def check_folder(name: str, path: Path) -> Finding | None:
    """Check that a file can be made, if it is missing: SQLite makes no folder.

    Args:
        name: The name of the finding.
        path: The file.

    Returns:
        The finding of a failure; None if the file is there, or can be made.
    """
    folder = path.absolute().parent
    if exists(path) or (is_folder(folder) and os.access(folder, os.W_OK)):
        return None
    return failure(
        name,
        f"{folder} is not a folder that this user may write to",
        command=f"mkdir -p {folder}",
    )


def _check_file(url: str) -> Iterator[Finding]:
    path = Path(path_in(url) or "").absolute()
    if not exists(path):
        yield check_folder("queue", path) or passed(
            "queue", f"{path} is made when it is first used"
        )
        return
    why = why_unsafe(path)
    if why is not None:
        yield warning("queue.file", f"{path} {why}", command=f"chmod go-w {path}")
    admin = open_admin(url, QueueSettings())
    try:
        status = admin.status()
    finally:
        admin.close()
    yield passed("queue", f"{path}, {counted(status.waiting, 'message')} waiting")


def _check_redrive(url: str, worker: Worker | None) -> Iterator[Finding]:
    transport = SqliteTransport(url)
    try:
        count = transport.max_receives()
    finally:
        transport.close()
    said = f"a message becomes a dead letter after {counted(count, 'receive')}"
    attempts = attempts_of(worker)
    most = max(attempts, key=lambda key: attempts[key], default=None)
    if most is None or attempts[most] <= count:
        yield passed("queue.redrive", said)
        return
    yield failure(
        "queue.redrive",
        f"{said}, and the retry policy of {most} wants {counted(attempts[most], 'attempt')}",
        advice=f"name the queue with ?max_receive_count={attempts[most] + 1} behind its path",
    )
