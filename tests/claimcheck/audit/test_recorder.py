"""`SizeAudit` as a listener, on whichever queue."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from claimcheck import BodyTooLarge, ClaimCheck, ClaimCheckMiddleware, SettingsInvalid, open_store
from claimcheck import EnqueueResult as StoredResult
from claimcheck.audit import AuditReport, AuditSettings, SizeAudit, TypeReport
from claimcheck.audit.recorder import NO_TYPE, OTHER_TYPES
from claimcheck.errors import AuditInvalid
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import (
    Client,
    EnqueueManyError,
    EnqueueResult,
    MessageInvalid,
    MessageNotSent,
    MessageSent,
    MessageTooLarge,
    SendFailed,
    Worker,
    listen_to_all,
)
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.local_http.letsgo import letsgo_worker
from tests.support.servers import AwsServer

NOISE = Random(7).randbytes(700_000).hex()


def by_type(audit: SizeAudit) -> dict[str, TypeReport]:
    return {each.type: each for each in audit.report().types}


def sent(size: int, message_type: str = "order:new") -> MessageSent:
    return MessageSent(
        type=message_type,
        queue="memory://",
        message_id="1",
        size=size,
        attributes_size=0,
        sent_size=size,
        duration=0.0,
        result=EnqueueResult(message_id="1", queue="memory://"),
    )


@contextmanager
def audited(client: Client, audit: SizeAudit) -> Iterator[Client]:
    client.add_listener(audit)
    yield client
    client.close()


def send_three(client: Client) -> None:
    client.enqueue({"type": "small", "payload": 1}, attributes={"a": "1"})
    client.enqueue({"type": "compressed", "payload": "x" * 1_000_000})
    client.enqueue({"type": "stored", "payload": NOISE})


def check_three(audit: SizeAudit) -> None:
    found = by_type(audit)
    assert {name: dict(each.routes) for name, each in found.items()} == {
        "small": {"inline": 1},
        "compressed": {"compressed": 1},
        "stored": {"stored": 1},
    }
    assert found["small"].size.largest == len('{"type":"small","payload":1}') + len("aString1")
    assert found["small"].ratio is None
    assert found["compressed"].size.largest == len('{"type":"compressed","payload":""}') + 10**6
    assert found["compressed"].units.write_units == 0
    stored = found["stored"]
    assert stored.sent_size is not None
    assert stored.sent_size.largest < 500
    # Digits come to half their size.
    assert stored.ratio == pytest.approx(2, rel=0.1)
    assert stored.units.dynamodb_bytes == stored.sealed_to_bytes
    assert stored.cost_per_million > stored.s3_cost_per_million > 0  # type: ignore[operator]  # both are there


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_goes_which_way(kind: str, tmp_path: Path) -> None:
    queues: dict[str, str | MemoryTransport] = {
        "memory": MemoryTransport(max_message_bytes=262_144),
        "sqlite": f"sqlite:///{tmp_path}/work.db?max_message_bytes=262144",
    }
    audit = SizeAudit()
    middleware = ClaimCheckMiddleware(ClaimCheck(open_store(f"sqlite:///{tmp_path}/claims.db")))
    with audited(Client(queues[kind], middleware=[middleware]), audit) as client:
        send_three(client)
    check_three(audit)


def test_what_goes_which_way_on_sqs_and_dynamodb(aws: AwsServer) -> None:
    table = aws.make_table_name()
    ClaimTable(table, region=aws.region, endpoint_url=aws.endpoint_url).create()
    store = open_store(f"dynamodb://{table}", region=aws.region)
    audit = SizeAudit()
    middleware = ClaimCheckMiddleware(ClaimCheck(store))
    queue = aws.make_queue(MaximumMessageSize="262144")
    with audited(Client(queue, middleware=[middleware]), audit) as client:
        send_three(client)
    check_three(audit)
    store.close()


def test_what_goes_to_letsgos_local_worker() -> None:
    audit = SizeAudit()
    with letsgo_worker() as worker, audited(Client(worker.url), audit) as client:
        client.enqueue({"type": "small", "payload": 1})
    assert by_type(audit)["small"].messages == 1


def test_it_can_listen_to_every_client_of_the_process() -> None:
    audit = SizeAudit()
    before = Client("memory://")
    stop = listen_to_all(audit)
    before.enqueue({"type": "a"})
    Client("memory://").enqueue({"type": "a"})
    stop()
    before.enqueue({"type": "a"})

    assert by_type(audit)["a"].messages == 2


def test_what_is_left_to_expire_costs_no_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    event = sent(500_000)
    stored = StoredResult(
        message_id="1",
        queue=event.queue,
        route="stored",
        size=event.size,
        sent_size=300,
        stored_size=400_000,
        claim_id=None,
    )
    removed = SizeAudit()
    monkeypatch.setenv("CLAIMCHECK_PURGE", "never")
    expiring = SizeAudit()
    for audit in (removed, expiring):
        audit(replace(event, sent_size=300, result=stored))

    units = [by_type(audit)["order:new"].units for audit in (removed, expiring)]
    assert units[0].write_units == pytest.approx(2 * units[1].write_units, rel=0.01)
    assert [each.dynamodb_expiring_bytes for each in units] == [0, 400_000]


def test_a_fifo_queue_has_its_own_price(ministack: AwsServer) -> None:
    audit = SizeAudit()
    with audited(Client(ministack.make_queue(FifoQueue="true")), audit) as client:
        client.enqueue({"type": "small", "payload": 1}, group_id="g")
    (small,) = audit.report().types
    assert (small.units.sqs_requests, small.units.sqs_fifo_requests) == (0, 3)
    assert small.cost_per_million == pytest.approx(1.5)


def test_refused_messages_are_weighed_too(tmp_path: Path) -> None:
    audit = SizeAudit()
    claim_check = ClaimCheck(open_store(f"sqlite:///{tmp_path}/claims.db"), max_size=1000)
    plain = Client(MemoryTransport(max_message_bytes=100))
    sealing = Client("memory://", middleware=[ClaimCheckMiddleware(claim_check)])
    with audited(plain, audit), audited(sealing, audit):
        with pytest.raises(MessageTooLarge):
            plain.enqueue({"type": "a", "payload": "x" * 200})
        with pytest.raises(MessageInvalid):
            plain.enqueue({"type": "b"}, deduplication_id="on no FIFO queue")
        with pytest.raises(BodyTooLarge):
            sealing.enqueue({"type": "c", "payload": "x" * 2000})
        with pytest.raises(EnqueueManyError):
            plain.enqueue_many([{"type": "d"}, {"type": "d", "payload": "x" * 200}])
    found = by_type(audit)
    assert {name: (each.messages, each.not_sent) for name, each in found.items()} == {
        "a": (0, 1),
        "b": (0, 1),
        "c": (0, 1),
        "d": (1, 1),
    }
    assert found["c"].size.largest == len('{"type":"c","payload":""}') + 2000
    assert found["a"].sent_size is None
    assert found["a"].cost_per_million is None


def test_the_events_of_a_worker_are_no_messages_sent() -> None:
    audit = SizeAudit()
    client = Client("memory://")
    client.enqueue({"type": "a"})
    worker = Worker(client=client)
    worker.handler("a")(lambda _: None)
    worker.add_listener(audit)
    worker.run(burst=True)
    assert audit.report().types == ()


def test_the_label_of_the_largest_stays() -> None:
    labels = iter(["first", "second", "third"])
    audit = SizeAudit(label=lambda: next(labels))
    for size in (10, 5, 20, 20, 1):
        audit(sent(size))
    assert by_type(audit)["order:new"].largest_in == "second"
    assert next(labels) == "third"  # asked for twice only


def test_a_label_may_send_messages_itself() -> None:
    """As a log handler does that writes to a queue."""
    client = Client("memory://")
    audit = SizeAudit(label=lambda: str(len(audit.report().types)) + send_log())

    def send_log() -> str:
        if not any(each.type == "log" for each in audit.report().types):
            client.enqueue({"type": "log", "payload": None}, queue="memory://logs")
        return ""

    client.add_listener(audit)
    thread = threading.Thread(target=client.enqueue, args=({"type": "a"},), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_label_that_fails_costs_no_message(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> str:
        raise ZeroDivisionError

    audit = SizeAudit(label=fail)
    audit(sent(100))
    (report,) = audit.report().types
    assert (report.messages, report.largest_in) == (1, None)
    assert "the label of a message of type 'order:new' is not known" in caplog.text


def test_a_sample_weighs_a_share_of_the_messages() -> None:
    audit = SizeAudit(sample=0.1, draw=Random(7).random)
    for _ in range(10_000):
        audit(sent(1000))
    report = audit.report()
    assert report.sample == 0.1
    assert 800 < report.types[0].messages < 1200


def test_memory_is_bounded_however_many_types_there_are() -> None:
    audit = SizeAudit(max_types=10)
    for number in range(1000):
        audit(sent(100, f"order:{number}"))
    types = by_type(audit)
    assert len(types) == 11
    assert types[OTHER_TYPES].messages == 990
    assert len(types["order:3"].points) == 1
    for _ in range(1000):
        audit(sent(100, "order:3"))
    assert len(by_type(audit)["order:3"].points) == 200


def test_a_message_without_a_type_has_a_row_too() -> None:
    audit = SizeAudit()
    event = MessageNotSent(
        type=None, queue="q", size=7, attributes_size=0, error=SendFailed("refused")
    )
    audit(event)
    assert audit.report().types[0].type == NO_TYPE


def test_threads_may_share_it() -> None:
    audit = SizeAudit()
    event = sent(100)

    def weigh_many() -> None:
        for _ in range(2000):
            audit(event)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=weigh_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    (report,) = audit.report().types
    assert report.messages == 8000
    assert sum(report.size.buckets.values()) == 8000


def test_merged_audits_are_as_one() -> None:
    one, other, both = SizeAudit(), SizeAudit(), SizeAudit()
    for size in range(100, 200):
        for audit in (one, both):
            audit(sent(size))
    for size in range(300, 350):
        for audit in (other, both):
            audit(sent(size, "report"))
            audit(sent(size))
    merged = SizeAudit()
    merged.merge(one.report())
    merged.merge(other.report())

    def without_points(audit: SizeAudit) -> list[TypeReport]:
        return [each.model_copy(update={"points": ()}) for each in audit.report().types]

    assert without_points(merged) == without_points(both)
    # As many as a sample has, and none that was not in one of the two.
    points = by_type(merged)["order:new"].points
    assert len(points) == 150
    assert set(points) == {*one.report().types[0].points, *by_type(other)["order:new"].points}


def test_what_cannot_be_added_up_is_refused() -> None:
    audit = SizeAudit()
    audit(sent(100))
    with pytest.raises(AuditInvalid, match=r"a summary .* has no histograms"):
        audit.merge(audit.report().summary())
    with pytest.raises(AuditInvalid, match=r"10\.00% of the messages cannot be added"):
        audit.merge(SizeAudit(sample=0.1).report())


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"sample": 1.5}, {"max_types": 0}])
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsInvalid, match=next(iter(wrong))):
        SizeAudit(**wrong)  # type: ignore[arg-type]  # that is the point


def test_nothing_of_a_payload_is_kept() -> None:
    audit = SizeAudit()
    with audited(Client("memory://"), audit) as client:
        client.enqueue({"type": "a", "payload": "secret"}, attributes={"token": "secret"})
    assert "secret" not in audit.report().model_dump_json()


class TestSaved:
    def test_a_saved_report_is_read_as_it_was(self, tmp_path: Path) -> None:
        audit = SizeAudit(AuditSettings(budgets={"order:*": 64_000}))
        audit(sent(1000))
        report = audit.report()
        path = tmp_path / "new" / "audit.json"
        report.save(path)
        assert AuditReport.load(path) == report

    def test_one_of_another_version_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "audit.json"
        SizeAudit().report().save(path)
        path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
        with pytest.raises(AuditInvalid, match=r"no audit report of version 1 \(version: "):
            AuditReport.load(path)
