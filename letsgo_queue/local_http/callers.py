"""Who may post to a worker in LetsGo's local mode: programs, and no web pages.

Any page that a developer visits can have the browser post to this machine. The browser then adds
headers that no client of a queue sends. A page can also give its own name the address of this
machine (DNS rebinding). The request then has that name, and a worker answers to names of this
machine only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address

import h11

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.local_http.connections import Refusal
from letsgo_queue.text import shown

_OF_A_BROWSER = {b"origin", b"sec-fetch-site"}
"""Headers of every post of a web page. `Sec-Fetch-Mode` is not among them: Node's `fetch` sends it
too."""

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::[0-9]*)?", re.IGNORECASE | re.ASCII)


class Callers:
    """Tells who may post."""

    def __init__(self, listening: str, allowed_hosts: Iterable[str]) -> None:
        """Name the hosts.

        Args:
            listening: The host that the worker listens on; senders may name it.
            allowed_hosts: Other names and addresses that senders may use, beside those of loopback.

        Raises:
            SettingsInvalid: One is no name and no address.
        """
        if isinstance(allowed_hosts, str) or not isinstance(allowed_hosts, Iterable):
            raise SettingsInvalid(f"allowed_hosts={allowed_hosts!r}: give a list of hosts.")
        self._allowed = {_plain(listening), *map(_checked, allowed_hosts)}

    def check(self, head: h11.Request) -> Refusal | None:
        """Say why a request is refused, if it is."""
        for name, _ in head.headers:
            if name in _OF_A_BROWSER:
                return Refusal(
                    HTTPStatus.FORBIDDEN,
                    f"Web pages may not post here, and a browser sends the header {name.decode()}.",
                )
        host = next((value for name, value in head.headers if name == b"host"), b"")
        if not self._allows(host.decode(errors="replace")):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "The URL names a host that this worker does not answer to. Allow it with "
                "worker.serve(allowed_hosts=...) or --allowed-host: "
                f"{shown(host.decode(errors='replace'))}",
            )
        return None

    def _allows(self, value: str) -> bool:
        found = _HOST.fullmatch(value)
        return found is not None and (
            _is_loopback(host := _plain(found["host"])) or host in self._allowed
        )


def _checked(host: object) -> str:
    plain = _plain(host) if isinstance(host, str) else ""
    found = _HOST.fullmatch(f"[{plain}]" if ":" in plain else plain)
    if found is None:
        raise SettingsInvalid(
            f"allowed host {host!r}: give a name or an address, as worker or 192.168.1.5, without "
            "http:// and without a port."
        )
    return plain


def _plain(host: str) -> str:
    return host.lower().removeprefix("[").removesuffix("]").removesuffix(".")


def _is_loopback(host: str) -> bool:
    """Whether a host always means this machine, whatever a DNS server says."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
