"""Guards the console: only people who have the token in the address that it prints may use it.

A page of another site that is open in the same browser may try too. So a request is refused

    without the token            which becomes a cookie that other sites' requests do not carry
    for another host's name      another site may point such a name to loopback (DNS rebinding)
    from another site            another port is another site

No answer is kept by the browser, and no page loads or sends anything elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"
POLICY = "content-security-policy"
"""A page that sets its own policy keeps it."""

READING = {"GET", "HEAD"}
OURS = {"same-origin", "none"}
"""A browser sends these values if a page of this console, or its user, made the request.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site"""

HEADERS = {
    "cache-control": "no-store",
    POLICY: (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # With no-referrer a browser would hide the origin of our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Access:
    """Refuses requests from anybody who may not use the application."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        """Guard an application.

        Args:
            app: The application.
            token: The token in the address that the command prints.
            hosts: The names under which requests may ask for it, each with its port.
        """
        self._app = app
        self._token = token
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                own_policy = headers.get(POLICY, HEADERS[POLICY])
                headers.update({**HEADERS, POLICY: own_policy})
            await send(message)

        app = self._refusal(Request(scope)) or self._app
        await app(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        """Return the answer that refuses or redirects a request; None if the request may go on."""
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return _refuse("This console answers by its own address only.", 421)
        given = request.query_params.get(TOKEN)
        if request.method in READING and given is not None:
            return self._sign_in(request, given)
        site = request.headers.get("sec-fetch-site")
        if site is not None and site not in OURS:
            return _refuse("Another site asked for this.")
        if request.method not in READING and request.headers.get("origin") != f"http://{host}":
            return _refuse("Another site asked for this.")
        if not self._is_token(request.cookies.get(_cookie(host), "")):
            return _refuse(
                "Open the address that the console printed when it started: it has a token in it.",
                401,
            )
        return None

    def _sign_in(self, request: Request, given: str) -> Response:
        if not self._is_token(given):
            return _refuse(
                "This token is that of an earlier console. Open the address that was printed last.",
                401,
            )
        # The new address has no token, since it would stay in the browser's history.
        # It stays on this host: two slashes would begin another host's name.
        answer = RedirectResponse(f"/{request.url.path.lstrip('/')}", 303)
        host = request.headers["host"]
        answer.set_cookie(_cookie(host), given, httponly=True, samesite="strict")
        return answer

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _cookie(host: str) -> str:
    """Name the cookie by port: cookies ignore ports, and a machine may run several consoles."""
    return f"letsgo_console_{host.rpartition(':')[2]}"


def _refuse(why: str, status: int = 403) -> Response:
    return PlainTextResponse(f"{why}\n", status)
