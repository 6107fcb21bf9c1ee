"""Reads files up to a size, and makes files of payloads that only their user can read."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from letsgo_queue.forking import Lock

MAX_FILE_BYTES = 256 * 1024 * 1024
"""The most bytes that are read from a file that a user names. The body made from it is smaller."""

_PIECE_BYTES = 1024 * 1024

_making = Lock()


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        OSError: It cannot be read, or has more than `MAX_FILE_BYTES`: a device has no end.
    """
    with path.open("rb") as file:
        return read_stream(file)


def read_stream(stream: BinaryIO) -> bytes:
    """Read a stream to its end; see `read_file`."""
    pieces: list[bytes] = []
    while piece := stream.read(_PIECE_BYTES):
        pieces.append(piece)
        if len(pieces) * _PIECE_BYTES > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_FILE_BYTES:,} bytes")
    return b"".join(pieces)


def exists(path: Path) -> bool:
    """Whether there is something at a path; False if the path is too long."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder at a path; False if the path is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def make_private_file(path: Path) -> None:
    """Make an empty file that only this user can read, if there is none.

    If that fails, opening the file raises the error.
    """
    # One at a time: closing a file releases the locks that SQLite holds on it in this process.
    with _making, suppress(OSError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def make_private_folder(path: Path) -> None:
    """Make a folder that only this user can enter, if there is none, and its parents.

    Raises:
        OSError: It cannot be made.
    """
    for folder in (*reversed(path.parents), path):
        folder.mkdir(mode=0o700, exist_ok=True)


def why_unsafe(path: Path) -> str | None:
    """Say who else could have put something into a file or a folder.

    Returns:
        Why it is not safe to use; None if it is safe, or does not exist.
    """
    if not hasattr(os, "getuid"):  # Windows: profiles have access lists
        return None
    me = os.getuid()
    try:
        itself = path.lstat()
        if stat.S_ISLNK(itself.st_mode) and itself.st_uid != me:
            return "is a link that another user made"
        there = path.stat()
    except FileNotFoundError:
        return None
    if there.st_uid != me:
        return "belongs to another user"
    return "can be written by other users" if there.st_mode & 0o022 else None
