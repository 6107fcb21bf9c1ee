"""`claimcheck.install`: what code that knows nothing of claim checks then sends and gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import claimcheck
import letsgo_queue
from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimMissing,
    EnqueueResult,
    MessageOpened,
    unwrap_claim_check,
)
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import (
    Client,
    Event,
    MessageFailed,
    MessageHandled,
    MessageTooLarge,
    Middleware,
    SendContext,
    Worker,
)
from letsgo_queue.envelope import is_sealed
from letsgo_queue.transports.base import OutgoingMessage
from tests.claimcheck.support import noise
from tests.letsgo_queue.support import outcomes

LARGE = {"type": "order:new", "payload": noise(6_000)}


def check() -> ClaimCheck:
    """A claim check with a store of its own, which stores all that is over 1,000 bytes."""
    return ClaimCheck(MemoryClaimStore(), threshold=1_000, inline_limit=1_000)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the environment says: a queue in a file, its claims beside it, and low limits."""
    url = f"sqlite:///{tmp_path}/work.db?max_message_bytes=2000"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
    return url


@dataclass
class Sees(Middleware):
    """Keeps the bodies that are sent; as a plain dataclass it cannot be hashed."""

    bodies: list[str] = field(default_factory=list)

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        self.bodies.append(message.body.decode())
        return message


@dataclass(frozen=True)
class Handled:
    """What a worker did until its queue was empty."""

    payloads: list[object]
    events: list[Event]

    @property
    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.events]


def handle_all(
    worker: Worker, decorate: Callable[[Any], Any] = lambda function: function
) -> Handled:
    handled = Handled([], [])
    worker.add_listener(outcomes(handled.events))

    def on_any(message: dict[str, Any]) -> None:
        handled.payloads.append(message["payload"])

    worker.default(decorate(on_any))
    worker.run(burst=True)
    return handled


@pytest.mark.usefixtures("queue")
class TestSending:
    def test_without_it_the_error_names_the_remedy(self) -> None:
        with pytest.raises(MessageTooLarge, match=r"claimcheck\.enqueue or .*claimcheck\.install"):
            letsgo_queue.enqueue(LARGE)

    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("enqueue", [letsgo_queue.enqueue, claimcheck.enqueue])
    def test_seals_once_however_often_it_is_called(
        self, times: int, enqueue: Callable[..., letsgo_queue.EnqueueResult]
    ) -> None:
        for _ in range(times):
            claimcheck.install()

        result = enqueue(LARGE)

        assert isinstance(result, EnqueueResult)
        assert result.route == "stored"
        assert handle_all(Worker()).payloads == [LARGE["payload"]]

    def test_other_middleware_keeps_its_place_outside(self) -> None:
        sees = Sees()
        letsgo_queue.default_client().add_middleware(sees)
        claimcheck.install()

        letsgo_queue.enqueue(LARGE)

        assert [is_sealed(body) for body in sees.bodies] == [False]

    def test_enqueue_without_it_runs_the_default_clients_middleware_too(self) -> None:
        sees = Sees()
        claimcheck.enqueue(LARGE)
        letsgo_queue.default_client().add_middleware(sees)

        results = [claimcheck.enqueue(LARGE), *claimcheck.enqueue_many([LARGE])]

        assert [result.route for result in results] == ["stored", "stored"]
        assert [is_sealed(body) for body in sees.bodies] == [False, False]


@pytest.mark.usefixtures("queue")
class TestHandling:
    def test_workers_on_the_default_client_open_messages(self) -> None:
        """Also a worker that was made before."""
        before = Worker()
        claimcheck.install()
        letsgo_queue.enqueue(LARGE)
        assert handle_all(before).payloads == [LARGE["payload"]]

        letsgo_queue.enqueue(LARGE)
        assert handle_all(Worker()).payloads == [LARGE["payload"]]

    def test_without_it_they_do_not(self) -> None:
        claimcheck.enqueue(LARGE)

        assert handle_all(Worker()).kinds == [MessageFailed]

    def test_workers_on_a_client_made_in_code(self, queue: str) -> None:
        client = Client(queue)
        claimcheck.install(check(), client=client)
        client.enqueue(LARGE)

        assert handle_all(Worker(client=client)).payloads == [LARGE["payload"]]

    def test_the_last_one_counts(self) -> None:
        last = check()
        for each in (None, check(), last):
            claimcheck.install(each)
        letsgo_queue.enqueue(LARGE)

        handled = handle_all(Worker())

        assert handled.payloads == [LARGE["payload"]]
        assert handled.kinds == [MessageOpened, MessageHandled]
        letsgo_queue.enqueue(LARGE)
        claimcheck.install(check())
        (event,) = handle_all(Worker()).events
        assert isinstance(event, MessageFailed)
        assert isinstance(event.error, ClaimMissing)

    def test_what_is_nearer_to_the_handler_replaces_it(self) -> None:
        """A message is opened once, by the worker's own or by the handler's decorator."""
        senders = check()
        claimcheck.install(senders)
        letsgo_queue.enqueue(LARGE)
        letsgo_queue.default_client().add_middleware(ClaimCheckMiddleware(check()))

        handled = handle_all(Worker(middleware=[ClaimCheckMiddleware(senders)]))
        assert handled.kinds == [MessageOpened, MessageHandled]

        claimcheck.install(senders)
        letsgo_queue.enqueue(LARGE)
        other = ClaimCheckMiddleware(check())
        worker = Worker(middleware=[other])
        handled = handle_all(worker, unwrap_claim_check(claim_check=senders))
        assert handled.kinds == [MessageOpened, MessageHandled]
