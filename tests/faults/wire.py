"""What a process says to its queue and its store, and the moment at which it is killed.

The product is watched from outside: at sqlite3's connections for the embedded queue and store, at
botocore's HTTP requests for SQS and DynamoDB. Nothing in it knows that it is being watched.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, cast
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from pydantic import BaseModel

from claimcheck.stores import removals
from tests.support.calls import Call, Calls, Request, call_in_statement


class Kill(BaseModel, frozen=True):
    """When a process dies: before or after its nth call of a kind."""

    moment: Literal["before", "after"]
    call: Call
    nth: int = 1


class Wire:
    """Sees every call of this process, and kills it at one of them.

    What the product says to a store all at once is let through one by one, an acquire before the
    reads beside it, so that "between two parts" is a moment. A removal in the background comes
    after the acknowledgement, and so does the next message, so that one is in hand. What the
    product says one by one is let through in its own order.
    """

    def __init__(self, kill: Kill, *, received: Callable[[str], None]) -> None:
        """Make it.

        Args:
            kill: When to die.
            received: Called with the receipt handle of each delivery from SQS.
        """
        self._kill = kill
        self._calls = Calls()
        self._received = received
        self._armed = False
        self._changed = threading.Condition()
        self._begun: Counter[Call] = Counter()
        self._done: Counter[Call] = Counter()

    def watch(self) -> None:
        """See the calls of connections that are made from now on."""
        send = URLLib3Session.send

        def watched_send(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
            said = _read(request)
            call = self._calls.call_in(said)
            if call is None or not self._armed:
                return send(session, request)
            with self._one_by_one(call):
                answer = send(session, request)
            if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
                self._calls.note(said)
            if call is Call.RECEIVE:
                for message in json.loads(answer.content).get("Messages", []):
                    self._received(message["ReceiptHandle"])
            return answer

        patch.object(URLLib3Session, "send", watched_send).start()
        connect = partial(sqlite3.connect, factory=partial(_Connection, self))
        patch.object(sqlite3, "connect", connect).start()

    def arm(self) -> None:
        """Count calls, and kill, from now on."""
        self._armed = True

    def begin(self, call: Call) -> None:
        if self._armed:
            with self._changed:
                self._begin(call)

    def end(self, call: Call) -> None:
        if self._armed:
            with self._changed:
                self._done[call] += 1
                self._die_at(Kill(moment="after", call=call, nth=self._done[call]))
                self._changed.notify_all()

    @contextmanager
    def _one_by_one(self, call: Call) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._is_next(call))
            self._begin(call)
        yield
        self.end(call)

    def _begin(self, call: Call) -> None:
        self._begun[call] += 1
        self._die_at(Kill(moment="before", call=call, nth=self._begun[call]))

    def _is_next(self, call: Call) -> bool:
        if call is Call.READ_PART and not self._done[Call.ACQUIRE]:
            return False
        settled = self._done[Call.ACKNOWLEDGE] + self._done[Call.RELEASE]
        if call is Call.ACQUIRE and self._done[call] > settled:
            return False
        if call is Call.REMOVE_PART and _in_background() and not self._done[Call.ACKNOWLEDGE]:
            return False
        return self._begun[call] == self._done[call]

    def _die_at(self, moment: Kill) -> None:
        if moment == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)


class _Connection(sqlite3.Connection):
    """A connection that tells of its statements, and of their end once they are committed."""

    def __init__(self, wire: Wire, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wire = wire
        self._in_transaction: list[Call] = []

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        call = call_in_statement(sql)
        if call is not None:
            self._in_transaction.append(call)
            self._wire.begin(call)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        call = call_in_statement(sql)
        return super().executemany(sql, rows if call is None else self._each(call, rows))

    def commit(self) -> None:
        super().commit()
        for call in self._in_transaction:
            self._wire.end(call)
        self._in_transaction.clear()

    def rollback(self) -> None:
        super().rollback()
        self._in_transaction.clear()

    def _each(self, call: Call, rows: Iterable[Any]) -> Iterator[Any]:
        for row in rows:
            self._in_transaction.append(call)
            self._wire.begin(call)
            yield row


def _in_background() -> bool:
    return threading.current_thread().name == removals.THREAD_NAME


def _read(request: AWSPreparedRequest) -> Request:
    headers = {
        name: str(each, "ascii") if isinstance(each, bytes) else each
        for name, each in cast("Mapping[str, str | bytes]", request.headers).items()
    }
    # Contents may be a file here, and nobody asks what they are.
    body = request.body if isinstance(request.body, bytes) else b""
    return Request.read(str(request.method), request.url, headers, body)
