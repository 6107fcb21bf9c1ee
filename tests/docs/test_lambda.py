"""docs/how-to/lambda.md and duplicates.md: their functions, called as Lambda calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from claimcheck import ClaimCheck, ClaimStore, open_store
from tests.claimcheck.support import (
    forge,
    message_body,
    noise,
    parts_left,
    small_claim_check,
    ticket_in,
)
from tests.docs.support import Reader, write_blocks
from tests.letsgo_queue.aws_lambda.lambda_events import SCHEDULED, event_of

FUNCTIONS = {"handler.py", "each_record.py", "with_powertools.py", "with_a_model.py"}
WORKER = "worker_on_lambda.py"

CALL = """
import importlib, json, sys

class Context:
    function_name = "orders"

    def get_remaining_time_in_millis(self):
        return 30_000

module = importlib.import_module(sys.argv[1])
handler = getattr(module, "handler", None) or module.worker.lambda_handler
for _ in range(int(sys.argv[2])):
    answer = handler(json.load(open("event.json")), Context())
print(json.dumps(answer))
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    assert write_blocks("docs/how-to/lambda.md", tmp_path) == {*FUNCTIONS, WORKER}
    assert write_blocks("docs/how-to/duplicates.md", tmp_path) == {"pay.py"}
    (tmp_path / "call.py").write_text(CALL)
    return Reader(tmp_path, CLAIMCHECK_STORE="sqlite:///claims.db")


@pytest.fixture
def store(reader: Reader) -> Iterator[ClaimStore]:
    """The store that the functions use."""
    store = open_store(f"sqlite:///{reader.folder}/claims.db")
    yield store
    store.close()


def call(reader: Reader, file: str, event: object, *, times: int = 1) -> tuple[list[str], object]:
    """Call the file's function; what it prints, and its last answer."""
    (reader.folder / "event.json").write_text(json.dumps(event))
    printed = reader.type(f"python call.py {file.removesuffix('.py')} {times}")
    *lines, answer = printed.splitlines()
    return lines, json.loads(answer)


def failed(*ids: str) -> object:
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}


def sealed(claim_check: ClaimCheck, seed: int) -> str:
    """What travels for a message whose contents are in the store."""
    body = claim_check.seal(message_body("order:new", noise(3_000, seed))).body.decode()
    assert "id" in ticket_in(body)
    return body


def state_of(store: ClaimStore, body: str) -> str:
    record = store.look_up(f"{ticket_in(body)['id']}@")
    return "no record" if record is None else record.state


@pytest.mark.parametrize("file", sorted(FUNCTIONS))
def test_a_batch(file: str, reader: Reader, store: ClaimStore) -> None:
    claim_check = small_claim_check(store)
    good, damaged, done = (sealed(claim_check, seed) for seed in range(3))
    claim_check.open(done).complete()
    small, no_payload = message_body("order:new", "small"), '{"type":"order:new"}'
    event = event_of(good, forge(damaged, size=2_999), done, small, no_payload)

    lines, answer = call(reader, file, event)

    assert [line for line in lines if line.startswith("order:new")] == [
        "order:new 3000",
        "order:new 5",
    ]
    # Those that could not be opened are added to those that the function names.
    assert answer in (failed("m1", "m4"), failed("m4", "m1"))
    assert (state_of(store, good), parts_left(store, good)) == ("done", 0)
    assert (state_of(store, damaged), parts_left(store, damaged)) == ("no record", 1)


def test_the_worker(reader: Reader, store: ClaimStore) -> None:
    large = message_body("order:new", {"customer": "large", "text": noise(3_000)})
    body = small_claim_check(store).seal(large).body.decode()
    event = event_of(body, message_body("order:new", {"customer": 1}))

    lines, answer = call(reader, WORKER, event)

    assert lines == ["order of large in orders"]
    assert answer == failed("m1")
    assert (state_of(store, body), parts_left(store, body)) == ("done", 0)


def test_a_schedule(reader: Reader) -> None:
    lines, answer = call(reader, WORKER, SCHEDULED)

    assert lines == ["the report of 2015-10-08T16:53:06Z"]
    assert answer is None


def test_a_handler_runs_once(reader: Reader) -> None:
    event = event_of(message_body("invoice:due", {"number": "42"}))

    lines, answer = call(reader, "pay.py", event, times=2)

    assert lines == ["invoice 42 is paid"]
    assert answer == failed()
