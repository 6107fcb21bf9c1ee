"""A busy store refuses receipts for a while: in the end they are there, and nothing else."""

from __future__ import annotations

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import receipts
from tests.claimcheck.support import message_body, noise, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.support import outgoing


@pytest.mark.parametrize("size", [5, 6_000], ids=["small", "stored"])
def test_they_are_written_before_their_messages_are_acknowledged(
    store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(receipts, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(receipts, "LONGEST_PAUSE_SECONDS", 0.01)
    watched, queue = Watched(store), MemoryTransport()
    runs: list[object] = []
    check = small_claim_check(watched.store)
    worker = Worker(queue, middleware=[ClaimCheckMiddleware(check, once=True)])
    worker.default(runs.append)
    on_the_queue: list[int] = []
    watched.fail("complete", times=3)
    watched.before("complete", lambda: on_the_queue.append(len(queue._messages)))
    sealed = check.seal(message_body("order:new", noise(size)))

    queue.send(outgoing(sealed.body))
    worker.run(burst=True)

    assert (len(runs), on_the_queue, watched.calls["complete"]) == (1, [1], 4)
    assert [store.look_up(key) for key in store._records] == [Record("done", 0)]
    assert not store._contents
    assert queue._messages == {}
