"""The process that `quick_python` forks others from.

    python -m tests.support.quick_server SOCKET MODULE...

It loads modules that they need, says so, and ends with its standard input.
"""

from __future__ import annotations

import gc
import importlib
import io
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.support.aws_models import read_ahead
from tests.support.quick_launcher import NOT_QUICK

_READ_BY_PYTHON = (b"PYTHON", b"LC_", b"LANG", b"COVERAGE")
"""Variables that Python reads before a program runs."""

_PYTHONPATH = b"PYTHONPATH"
_ENCODING = b"PYTHONIOENCODING"
_STDIN, _STDERR = 0, 2


@dataclass(frozen=True, slots=True)
class Request:
    """A process that is asked for.

    Attributes:
        streams: What its file descriptors are here.
        arguments: Those of Python.
        environment: Its variables.
        folder: Where it runs.
        session: The session of its launcher.
        group: The process group of its launcher.
    """

    streams: Mapping[int, int]
    arguments: Sequence[str]
    environment: Mapping[bytes, bytes]
    folder: bytes
    session: int
    group: int

    @classmethod
    def receive(cls, launcher: socket.socket) -> Request:
        size, here, _, _ = socket.recv_fds(launcher, 8, 3)
        with launcher.makefile("rb") as file:
            there, *others = marshal.loads(file.read(int.from_bytes(size, "big")))
        return cls(dict(zip(there, here, strict=True)), *others)

    def python_path(self) -> list[str]:
        found = os.fsdecode(self.environment.get(_PYTHONPATH, b""))
        return found.split(os.pathsep) if found else []

    def is_quick(self) -> bool:
        """Whether a fork does as well as a Python of its own."""
        first = self.arguments[0] if self.arguments else "-"
        has_options = first.startswith("-") and first not in {"-c", "-m"}
        has_hooks = any(Path(each, "sitecustomize.py").exists() for each in self.python_path())
        is_like_this_one = _read_by_python(self.environment) == _read_by_python(os.environb)
        return is_like_this_one and not has_options and not has_hooks

    def close(self) -> None:
        for stream in self.streams.values():
            os.close(stream)

    def become(self) -> None:
        """Be the process that is asked for, to its end."""
        for number in range(3):
            if number in self.streams:
                os.dup2(self.streams[number], number)
            else:
                os.close(number)
        self.close()
        os.environb.clear()
        os.environb.update(self.environment)
        time.tzset()
        os.chdir(self.folder)
        if self.session == os.getsid(0):
            os.setpgid(0, self.group)
        else:
            os.setsid()
        _open_streams()
        what, *rest = self.arguments
        sys.orig_argv = [sys.executable, what, *rest]
        sys.argv = [what, *(rest if what not in {"-c", "-m"} else rest[1:])]
        sys.path[1:1] = self.python_path()
        sys.path[0] = {"-c": "", "-m": str(Path.cwd())}.get(what, str(Path(what).resolve().parent))
        if what == "-c":
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        elif what == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(what, run_name="__main__")


def _read_by_python(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_BY_PYTHON) and name not in {_PYTHONPATH, _ENCODING}
    }


def _open_streams() -> None:
    """Make `sys.stdin` and the other two, as Python does at its start."""
    encoding, _, errors = os.environ.get(os.fsdecode(_ENCODING), "").partition(":")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        ours: io.TextIOWrapper = getattr(sys, name)
        stream = None
        with suppress(OSError):  # of a closed one
            binary = os.fdopen(number, "wb" if number else "rb", closefd=False)
            stream = io.TextIOWrapper(
                binary,
                encoding=encoding or ours.encoding,
                errors=errors if errors and number != _STDERR else ours.errors,
                line_buffering=ours.line_buffering or binary.isatty(),
                write_through=ours.write_through,
            )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class Server:
    """Forks a process for each launcher, and tells the launcher how that ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._launchers: dict[int, socket.socket] = {}
        self._wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = wake
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def serve(self) -> Request | None:
        """Fork until standard input ends; in a child, give what that is to be."""
        while True:
            launchers = [each.fileno() for each in self._launchers.values()]
            waited_for = [_STDIN, self._wakes, self._listener.fileno(), *launchers]
            ready, _, _ = select.select(waited_for, [], [])
            self._tell_of_ends()
            for process, launcher in self._launchers.items():
                if launcher.fileno() in ready or _STDIN in ready:  # who waits for it was killed
                    os.kill(process, signal.SIGKILL)
            if _STDIN in ready:
                return None
            if self._listener.fileno() in ready:
                request = self._fork()
                if request is not None:
                    return request

    def _tell_of_ends(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakes, 4096)
        for process in list(self._launchers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with self._launchers.pop(process) as launcher, suppress(OSError):
                    launcher.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    def _fork(self) -> Request | None:
        launcher, _ = self._listener.accept()
        try:
            request = Request.receive(launcher)
        except (OSError, EOFError, ValueError):  # it was killed before it had asked
            launcher.close()
            return None
        if not request.is_quick():
            with launcher, suppress(OSError):
                launcher.sendall(NOT_QUICK + b"\n")
            request.close()
            return None
        process = os.fork()
        if process == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for each in (launcher, self._listener, *self._launchers.values()):
                each.close()
            os.close(self._wakes)
            os.close(self._wake)
            return request
        request.close()
        self._launchers[process] = launcher
        with suppress(OSError):  # it was killed meanwhile, and `serve` kills what it asked for
            launcher.sendall(b"%d\n" % process)
        return None


def main() -> None:
    address, *modules = sys.argv[1:]
    for name in modules:
        importlib.import_module(name)
    read_ahead()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(128)
        gc.collect()
        gc.freeze()  # or the first collection of each child would copy it all
        print("ready", flush=True)
        request = Server(listener).serve()
    if request is not None:
        request.become()


if __name__ == "__main__":
    main()
