"""What a fuzz run feeds to everything that reads a message, and how it calls it.

Each input goes through every reader. A reader gives a result or raises an error of ours; anything
else escapes `feed`, and hypothesis shrinks the input that did it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from claimcheck import ClaimCheck, unwrap_claim_check
from claimcheck.core import ticket as tickets
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.incoming import Incoming
from claimcheck.opening import Opener
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import LetsGoError, Message
from letsgo_queue.envelope import holds_sealed, is_sealed, type_in, type_of
from letsgo_queue.message import encode
from letsgo_queue.worker.handler import Handler
from tests.claimcheck.support import body_of, message_body, noisy_body
from tests.letsgo_queue.support import incoming

MAX_SIZE = 100_000
_PIECES = ['"', "{", "}", ",", ":", "\\", "\\ud800", "\0", "\ud800", "0", "-1", "1e999", "NaN", "é"]
KEY = "a-key-for-the-fuzz-run"
_OK: Any = SimpleNamespace(status_code=200)
AES_KEY = b64encode(bytes(32)).decode()


class _Line(BaseModel):
    name: str
    count: int = 1


class _Order(BaseModel):
    id: str
    lines: list[_Line] = []
    note: str | None = None


def _takes_order(message: Message[_Order]) -> None: ...


def _takes_anything(message: Message[Any]) -> None: ...


def _takes_dict(message: dict[str, object]) -> None: ...


class Readers:
    """Everything that reads what comes from a queue, or writes what goes there."""

    def __init__(self) -> None:
        options: dict[str, Any] = {"threshold": 1000, "inline_limit": 1500, "max_size": MAX_SIZE}
        store = MemoryClaimStore()
        # Contents stay, so that the valid tickets among the inputs stay valid.
        self._plain = ClaimCheck(store, purge="never", **options)
        self._signed = ClaimCheck(store, purge="never", signing_key=KEY, **options)
        self._encrypted = ClaimCheck(
            store, purge="never", encryption=f"aes256:{AES_KEY}", **options
        )
        self._handlers = [Handler(f) for f in (_takes_order, _takes_anything, _takes_dict)]
        self._unwrapped = unwrap_claim_check(claim_check=self._plain)(_fails)
        carrier = Carrier(Opener(self._plain))
        self._incoming = Incoming(carrier, lambda _: {}, on_error="leave")
        bodies = (noisy_body(3000), noisy_body(3000, "größe"), body_of(3000), "no message " * 200)
        self.sealed = [
            json.loads(check.seal(body).body)
            for body in bodies
            for check in (self._plain, self._signed, self._encrypted)
        ]

    def feed_body(self, body: str) -> None:
        """Have a body read by everyone."""
        check_ours(lambda: type_of(body))
        check_ours(lambda: tickets.read(body, max_size=MAX_SIZE))
        data = body.encode(errors="replace")
        for each in (body, data):
            type_in(each)
            is_sealed(each)
            holds_sealed(each)
        for check in (self._plain, self._signed, self._encrypted):
            check_ours(lambda check=check: check.open(body).release())  # type: ignore[misc]
        check_ours(lambda: self._plain.open(body, once="once/queue/m@").release())
        check_ours(lambda: self._plain.discard(self._plain.seal(body)))
        handler = self._handlers[len(body) % len(self._handlers)]
        check_ours(lambda: handler.arguments(incoming(body)))
        record = {"messageId": "m", "body": body}
        self._receive(body)
        self._receive(json.dumps({"Type": "Notification", "TopicArn": body, "Message": body}))
        for argument in (record, {"Body": body}, {"Records": [record, record]}, [record]):
            check_ours(lambda argument=argument: self._unwrapped(argument))  # type: ignore[misc]

    def _receive(self, body: str) -> None:
        """Have an attached client receive a body, which fails no other of its answer."""
        bodies, context = (body, "the last"), dict[str, Any]()
        answer: dict[str, Any] = {
            "Messages": [
                {"MessageId": "m", "ReceiptHandle": "r", "Body": each, "MD5OfBody": ""}
                for each in bodies
            ]
        }
        self._incoming.ask({"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/queue"}, context)
        self._incoming.open_answer(_OK, answer, context)
        assert answer["Messages"][-1]["Body"] == "the last"
        self._incoming.give_back(answer, context)

    def feed_message(self, message: Any) -> None:
        """Have a message written; what was written must be readable."""

        def write_and_read() -> None:
            message_type, body = encode(message)
            assert type_of(body.decode(), whole=True) == message_type
            sealed = self._plain.seal(body, type=message_type)
            assert self._plain.open(sealed.body.decode()).body == body.decode()
            self._plain.discard(sealed)

        check_ours(write_and_read)
        check_ours(lambda: self._unwrapped(message))


class _FailsError(Exception):
    """What the handler raises that everything is unwrapped for."""


def _fails(event: object) -> None:
    raise _FailsError


def check_ours(call: Callable[[], object]) -> None:
    """Call it; an error of ours is as good as a result, if it can be shown."""
    try:
        call()
    except _FailsError:
        pass
    except LetsGoError as error:
        str(error).encode()


def bodies(readers: Readers) -> st.SearchStrategy[str]:
    """Bodies from a queue, from plain noise to tickets that are almost right."""
    text = st.text(max_size=60)
    surrogates = st.text(st.characters(), max_size=30)
    return st.one_of(
        text,
        surrogates,
        _json().map(lambda value: json.dumps(value, ensure_ascii=False)),
        _json().map(json.dumps),
        st.builds(message_body, text, _json()),
        st.builds(_deep, st.sampled_from("[{"), st.integers(1, 3000)),
        st.builds(_with_ticket, text | st.none(), _json()),
        *[_mutated(readers)] * 3,
        st.builds(
            _spliced,
            st.sampled_from(readers.sealed).map(json.dumps),
            st.integers(0, 4000),
            st.integers(0, 20),
            text | st.sampled_from(['"', "}", "\\ud800", "\0", "[" * 300, "1e999", "NaN"]),
        ),
    )


def variants(body: str, count: int, chance: int) -> Iterator[str]:
    """A body with some characters cut out, doubled, exchanged or put in."""
    random = Random(chance)
    for _ in range(count):
        changed = body
        for _ in range(random.randint(1, 3)):
            at, length = random.randint(0, len(changed)), random.choice([0, 0, 1, 1, 2, 8, 64])
            cut = changed[at : at + length]
            put = random.choice(["", "", 2 * cut, cut[::-1], *_PIECES])
            changed = changed[:at] + put + changed[at + length :]
        yield changed


def messages() -> st.SearchStrategy[object]:
    """What somebody may try to enqueue."""
    odd = st.binary(max_size=5) | st.builds(object) | st.floats() | st.characters()
    return st.one_of(
        st.fixed_dictionaries({"type": st.text(max_size=20), "payload": _json() | odd}),
        st.dictionaries(st.text(max_size=8) | st.integers(), _json() | odd, max_size=3),
        st.builds(lambda type, payload: Message(type=type, payload=payload), _names(), odd),
        _json(),
    )


def _names() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _json() -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats()
    return st.recursive(
        st.none() | st.booleans() | numbers | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=4,
    )


_VALUES: dict[str, st.SearchStrategy[object]] = {
    "v": st.sampled_from([0, 2, True, 1.0, "1", 10**400]),
    "encoding": st.sampled_from(["identity", "zstd", "gzip", ""]),
    "size": st.integers(-1, 2 * MAX_SIZE) | st.sampled_from([3000, 2**64, 1e3]),
    "sha256": st.just(sha256(b"").hexdigest()) | st.text(max_size=64),
    "sig": st.just("0" * 64) | st.text(max_size=64) | st.none(),
    "data": st.from_regex(r"[A-Za-z0-9+/]{0,40}={0,2}", fullmatch=True) | st.text(max_size=20),
    "id": st.from_regex(r"[A-Za-z0-9_-]{20,66}", fullmatch=True)
    | st.sampled_from(["../../etc/passwd", "claims/1", "https://example.com/", "a" * 24 + "/0"]),
    "parts": st.integers(-1, 40) | st.just(10**30),
    "stored": st.integers(-1, MAX_SIZE) | st.just(10**30),
    "expires": st.integers(0, 2**53) | st.sampled_from([-1, 10**30]),
    "store": st.text(max_size=20) | st.just("sqlite:/etc/passwd"),
}


def _mutated(readers: Readers) -> st.SearchStrategy[str]:
    """Valid tickets with one to three fields that are other than they were."""
    fields = st.sampled_from(sorted(_VALUES)).flatmap(
        lambda name: st.tuples(st.just(name), _VALUES[name] | _json())
    )
    return st.builds(
        _changed,
        st.sampled_from(readers.sealed),
        st.lists(fields, max_size=3),
        st.lists(st.sampled_from([*sorted(_VALUES), "type"]), max_size=1),
        st.sampled_from(["order:new", "größe", "\ud800", None, 1, []]) | st.just(...),
    )


def _changed(
    sealed: dict[str, Any],
    fields: list[tuple[str, object]],
    without: list[str],
    message_type: object,
) -> str:
    ticket = {**sealed["claimCheck"], **dict(fields)}
    message: dict[str, object] = {**sealed, "claimCheck": ticket}
    if message_type is not ...:
        message["type"] = message_type
    for name in without:
        ticket.pop(name, None)
        message.pop(name, None)
    return json.dumps(message)


def _with_ticket(message_type: str | None, ticket: object) -> str:
    return json.dumps({"type": message_type, "claimCheck": ticket})


def _spliced(body: str, at: int, cut: int, put: str) -> str:
    at %= len(body)
    return body[:at] + put + body[at + cut :]


def _deep(bracket: str, depth: int) -> str:
    opening, closing = ("[", "]") if bracket == "[" else ('{"a":', "}")
    return '{"type":"order:new","payload":' + opening * depth + "1" + closing * depth + "}"
