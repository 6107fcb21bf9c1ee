"""The process that a test starts and waits for, in place of a Python that takes a second to start.

`quick_python` tells how it is used. It imports nothing that takes time.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal is slow to load
import marshal
import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

FORWARDED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1)
NOT_QUICK = b"-"
"""The server's answer where only a Python of its own will do."""


def main() -> None:
    address, *arguments = sys.argv[1:]
    streams = [number for number in range(3) if _is_open(number)]
    # One that comes before it can be forwarded waits.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, FORWARDED)
    server = socket(AF_UNIX, SOCK_STREAM)
    server.connect(address)
    _ask(server, streams, arguments)
    answer = _read_line(server)
    if answer == NOT_QUICK:
        server.close()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, FORWARDED)
        os.execv(sys.executable, [sys.executable, *arguments])
    process = int(answer)

    def forward(number: int, _frame: object) -> None:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            """It has just ended."""

    for each in FORWARDED:
        _signal.signal(each, forward)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, FORWARDED)
    code = int(_read_line(server) or -_signal.SIGKILL)  # of a server that is gone
    if code < 0:
        if -code in FORWARDED:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _ask(server: socket, streams: list[int], arguments: list[str]) -> None:
    environment = {**os.environb}
    here = os.getcwdb(), os.getsid(0), os.getpgrp()  # noqa: PTH109  pathlib takes time
    request = marshal.dumps((streams, arguments, environment, *here))
    rights = b"".join(number.to_bytes(4, sys.byteorder) for number in streams)
    server.sendmsg(
        [len(request).to_bytes(8, "big")],
        [(SOL_SOCKET, SCM_RIGHTS, rights)] if rights else [],
    )
    server.sendall(request)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _read_line(server: socket) -> bytes:
    line = b""
    while (byte := server.recv(1)) not in {b"\n", b""}:
        line += byte
    return line


if __name__ == "__main__":
    main()
