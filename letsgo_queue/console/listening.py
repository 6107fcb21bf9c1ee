"""Listens on a port of this machine, or says why that fails."""

from __future__ import annotations

import os
import socket

from letsgo_queue.errors import SettingsInvalid


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port.

    Args:
        host: An address of this machine.
        port: The port; 0 for any free one.

    Raises:
        SettingsInvalid: The port cannot be used.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsInvalid(
            f"the console cannot listen on {host}:{port} ({reason}). If another "
            "console runs there, use that, or choose another port."
        ) from error
