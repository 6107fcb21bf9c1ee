"""docs/examples/typescript_worker, on Node: it and Python serve one queue."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimAlreadyProcessed, ClaimCheck, ClaimCheckMiddleware
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import Client
from tests.claimcheck.support import message_body, noise, ticket_in
from tests.conftest import REGION
from tests.docs.support import ROOT
from tests.letsgo_queue.aws_lambda.lambda_events import delete_handled, event_of, receive_event
from tests.support.servers import AwsServer

FOLDER = ROOT / "docs/examples/typescript_worker"
BUILT = FOLDER / "dist/worker.js"
SOURCES = [*FOLDER.glob("src/*.ts"), FOLDER / "package-lock.json"]
VECTORS = json.loads((ROOT / "docs/wire-format/vectors.json").read_text(encoding="utf-8"))
MESSAGES: list[dict[str, Any]] = VECTORS["messages"]
NODE = shutil.which("node")
INLINE_LIMIT = 20_000

pytestmark = pytest.mark.skipif(
    NODE is None
    or not BUILT.exists()
    or BUILT.stat().st_mtime < max(source.stat().st_mtime for source in SOURCES),
    reason="the example is not built: `make typescript` does it where Node 20 and npm are",
)

DRIVER = """
import { createInterface } from "node:readline";
const [folder] = process.argv.slice(2);
const { carried, read, unseal } = await import(`${folder}/opening.js`);

function open({ message, contents, dataKeys, signingKey }) {
  const named = Object.entries(dataKeys ?? {}).map(([name, key]) => [name, bytes(key)]);
  const keys = { signing: signingKey, data: dataKeys && Object.fromEntries(named) };
  const sealed = read(message, keys);
  if (!sealed) return message;
  const ticket = sealed.claimCheck;
  const data = "data" in ticket ? carried(ticket) : Buffer.concat(contents.map(bytes));
  return unseal(sealed, data, keys);
}

const bytes = (text) => Buffer.from(text, "base64");
const asked = {
  async vector(vector) {
    try { return { body: open(vector) }; } catch (error) { return { error: String(error) }; }
  },
  async event({ event, table, now }) {
    Date.now = () => now * 1000;
    process.env.CLAIMS_TABLE = table;
    const { handler, handlers } = await import(`${folder}/worker.js?${table}`);
    const handled = [];
    handlers.set("order:new", async ({ payload }) => {
      handled.push(payload);
      if (payload.fails) throw new Error("the handler fails");
    });
    const answer = await handler(event, { getRemainingTimeInMillis: () => 60_000 });
    return { answer, handled };
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const [name, argument] = JSON.parse(line);
  console.log(JSON.stringify(await asked[name](argument)));
}
"""


class Worker:
    """The example in a process of its own, which is asked line by line."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        driver = folder / "driver.mjs"
        driver.write_text(DRIVER)
        self.errors = folder / "errors"
        self._errors = self.errors.open("w")
        self._process = subprocess.Popen(
            [NODE or "node", driver, BUILT.parent.as_uri()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment},
            text=True,
        )

    def ask(self, name: str, argument: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, argument]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        with self._errors, self._process:
            if self._process.stdin is not None:
                self._process.stdin.close()


class Shop:
    """A queue with a table, a sender in Python and the worker."""

    def __init__(self, aws: AwsServer, worker: Worker, table: str) -> None:
        self.aws, self.worker, self.table = aws, worker, table
        self.url = aws.make_queue()
        self.check = ClaimCheck(
            DynamoDBClaimStore(table, region=aws.region), inline_limit=INLINE_LIMIT
        )
        self._client = Client(self.url, middleware=[ClaimCheckMiddleware(self.check)])

    def send(self, payload: object) -> str:
        return self._client.enqueue({"type": "order:new", "payload": payload}).route

    def seal(self, payload: object, *, shared: bool = False) -> str:
        body = message_body("order:new", payload)
        return self.check.seal(body, shared=shared).body.decode()

    def deliver(self) -> tuple[list[object], int]:
        """Have the worker handle what is on the queue: payloads, and how many it gave back."""
        event = receive_event(self.aws, self.url, visibility_timeout=0)
        handled, answer = self.handle(event)
        return handled, len(delete_handled(self.aws, self.url, event, answer))

    def handle(
        self, event: Mapping[str, Any], *, now: float | None = None
    ) -> tuple[list[object], dict[str, Any]]:
        question = {"event": event, "table": self.table, "now": now or time.time()}
        said = self.worker.ask("event", question)
        return said["handled"], said["answer"]

    def kept(self) -> list[str]:
        """What the table has, without the ids of the claims."""
        client = self.aws.dynamodb()
        items = client.scan(TableName=self.table, ConsistentRead=True)["Items"]
        client.close()
        states = [(item["id"]["S"][24:], item.get("state", {}).get("S", "")) for item in items]
        return sorted(key + state for key, state in states)

    def close(self) -> None:
        self._client.close()
        self.check.close()


@pytest.fixture(scope="module")
def worker(ministack_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    environment = {
        "AWS_ENDPOINT_URL": ministack_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
    }
    with closing(Worker(tmp_path_factory.mktemp("typescript"), environment)) as worker:
        yield worker


@pytest.fixture
def shop(ministack: AwsServer, worker: Worker) -> Iterator[Shop]:
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    with closing(Shop(ministack, worker, table)) as shop:
        yield shop


def test_it_reads_the_vectors(worker: Worker) -> None:
    # Lambda always says which queue a message came from.
    vectors = [each for each in MESSAGES if each.get("error") != "ConsumerUnknown"]
    for vector in vectors:
        said = worker.ask("vector", vector)
        assert said.get("body") == vector.get("body"), (vector["name"], said)
        assert ("error" in said) == ("error" in vector), (vector["name"], said)


def test_it_does_with_a_record_what_the_vectors_say(shop: Shop, ministack: AwsServer) -> None:
    stored = next(each for each in MESSAGES if each["name"] == "stored, zstd")
    id = ticket_in(stored["message"])["id"]
    contents = {"data": {"B": b64decode(stored["contents"][0])}}
    for vector in VECTORS["records"]:
        with closing(ministack.dynamodb()) as client:
            for key in (f"{id}/0", f"{id}@"):
                client.delete_item(TableName=shop.table, Key={"id": {"S": key}})
            if vector["contents"]:
                client.put_item(TableName=shop.table, Item={"id": {"S": f"{id}/0"}, **contents})
            if "dynamodb" in vector:
                record = {"id": {"S": f"{id}@"}, **vector["dynamodb"]}
                client.put_item(TableName=shop.table, Item=record)

        handled, answer = shop.handle(event_of(stored["message"]), now=vector["now"])

        outcome = vector["outcome"]
        if vector["name"] == "handed over, and not removed yet":
            outcome = "ClaimLost"  # it takes over no such record, which it may do
        assert len(handled) == (outcome == "opened"), vector["name"]
        acknowledged = not answer["batchItemFailures"]
        assert acknowledged == (outcome in {"opened", "ClaimAlreadyProcessed"}), vector["name"]


def test_what_python_sends_is_handled_once(shop: Shop) -> None:
    payloads = [{"id": 7}, {"lines": ["größe"] * 5_000}, noise(60_000), noise(2_000_000)]
    assert list(map(shop.send, payloads)) == ["inline", "compressed", "stored", "stored"]
    copies = receive_event(shop.aws, shop.url, visibility_timeout=0)["Records"]
    assert len(copies) == 4

    handled: list[object] = []
    while len(handled) < 4:
        got, failed = shop.deliver()
        assert failed == 0
        handled += got

    assert sorted(map(len, map(str, handled))) == sorted(map(len, map(str, payloads)))
    assert all(payload in handled for payload in payloads)
    assert shop.deliver() == ([], 0), "the messages were acknowledged"
    assert shop.kept() == ["@done", "@done"]
    stored = [copy for copy in copies if '"store":' in copy["body"]]
    assert shop.handle({"Records": stored}) == ([], {"batchItemFailures": []}), "duplicates"
    for copy in stored:
        with pytest.raises(ClaimAlreadyProcessed):
            shop.check.open(copy["body"])


def test_a_handler_that_fails_gives_the_claim_back(shop: Shop) -> None:
    payload = {"fails": True, "lines": noise(60_000)}
    shop.send(payload)

    assert shop.deliver() == ([payload], 1)
    assert shop.kept() == ["/0"]
    assert shop.deliver() == ([payload], 1), "it is delivered again"
    assert "failed: Error: the handler fails" in shop.worker.errors.read_text()


def test_python_and_it_see_each_others_leases(shop: Shop) -> None:
    sealed = shop.seal(noise(60_000))
    event = event_of(sealed)
    opened = shop.check.open(sealed)

    handled, answer = shop.handle(event)
    assert (handled, len(answer["batchItemFailures"])) == ([], 1)
    assert opened.release()
    assert shop.handle(event)[0] == [noise(60_000)]
    with pytest.raises(ClaimAlreadyProcessed):
        shop.check.open(sealed)


def test_a_claim_that_is_nowhere_is_not_acknowledged(shop: Shop) -> None:
    sealed = shop.seal(noise(60_000))
    shop.check.store.remove(ticket_in(sealed)["id"], 1)

    handled, answer = shop.handle(event_of(sealed))

    assert (handled, len(answer["batchItemFailures"])) == ([], 1)
    assert shop.kept() == []
    said = shop.worker.errors.read_text()
    assert f"the sender's store is {shop.check.store.label}, and this is table" in said


def test_each_queue_of_a_topic_handles_a_message_once(shop: Shop) -> None:
    sealed = shop.seal(noise(60_000), shared=True)
    events = [event_of(sealed), event_of(sealed)]
    events[1]["Records"][0]["eventSourceARN"] += "-2"

    assert [shop.handle(event)[0] for event in events] == [[noise(60_000)]] * 2
    assert [shop.handle(event)[0] for event in events] == [[], []]
    queues = ["us-east-2:123456789012:my-queue", "us-east-2:123456789012:my-queue-2"]
    assert shop.kept() == ["/0", *sorted(f"@{queue}done" for queue in queues)]
    with pytest.raises(ClaimAlreadyProcessed):
        shop.check.open(sealed, consumer=queues[0])
