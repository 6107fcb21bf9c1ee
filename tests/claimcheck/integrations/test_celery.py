"""What installing the claim check in a Celery app does, and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from celery import Celery

from claimcheck import ClaimCheck, SettingsInvalid
from claimcheck.integrations.celery import install
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations.kombu_desk import Desk
from tests.claimcheck.places import Left
from tests.claimcheck.support import noise
from tests.support.servers import AwsServer

LARGE = noise(20_000)


@pytest.fixture
def desk(ministack: AwsServer) -> Iterator[Desk]:
    with closing(Desk(ministack)) as desk:
        yield desk


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False)
    yield app
    app.pool.force_close_all()
    app.close()


def configure(app: Celery, desk: Desk) -> None:
    plain = desk.plain()
    app.conf.broker_url = plain.as_uri(include_password=True)
    app.conf.broker_transport_options = plain.transport_options
    app.conf.task_default_queue = desk.name


def test_it_is_the_same_app_with_the_claim_check(app: Celery, desk: Desk) -> None:
    configure(app, desk)
    assert install(app, desk.check) is app
    app.send_task("resize", [LARGE])
    assert is_sealed(desk.bodies()[0])


def test_the_broker_may_be_set_later(app: Celery, desk: Desk) -> None:
    """As an app does that reads its configuration when it is first needed."""
    install(app, desk.check)
    assert not app.configured
    configure(app, desk)
    app.send_task("resize", [LARGE])
    assert is_sealed(desk.bodies()[0])


def test_twice_is_once_and_the_last_counts(app: Celery, desk: Desk) -> None:
    configure(app, desk)
    install(app, ClaimCheck(desk.place.elsewhere))
    app.send_task("resize", ["small"])
    install(app, desk.check)
    app.send_task("resize", [LARGE])
    assert desk.left() == Left(1, 0)


def test_an_app_that_has_sent_before_has_it_from_then_on(app: Celery, desk: Desk) -> None:
    configure(app, desk)
    app.send_task("resize", ["small"])
    install(app, desk.check)
    app.send_task("resize", [LARGE])
    assert desk.left() == Left(1, 0)


def test_contents_may_be_left_to_expire(app: Celery, desk: Desk) -> None:
    configure(app, desk)
    install(app, desk.check, purge="never")
    app.send_task("resize", [LARGE])
    with app.connection_for_read() as connection:
        ((arguments, _, _),) = desk.take(1, connection)
    assert arguments == [LARGE]
    assert desk.left() == Left(1, 1)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_small_task_travels_as_celery_sends_it(
    app: Celery, desk: Desk, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("kombu.transport.virtual.base.uuid", lambda: "the same")
    configure(app, desk)
    with app.connection_for_write() as plain:
        app.send_task("resize", ["x" * size], task_id="one", connection=plain)
    install(app, ClaimCheck(desk.place.store))
    app.send_task("resize", ["x" * size], task_id="one")
    first, second = desk.bodies()
    assert first == second


@pytest.mark.parametrize("broker", ["redis://localhost", "amqp://localhost", "memory://"])
def test_another_broker_is_refused(broker: str) -> None:
    name = broker.partition(":")[0]
    with pytest.raises(SettingsInvalid, match=f"the broker is {name}, and .* SQS only"):
        install(Celery("shop", broker=broker, set_as_current=False))


def test_another_broker_that_is_set_later_is_refused_by_the_first_connection() -> None:
    app = install(Celery("shop", set_as_current=False))
    app.conf.broker_url = "memory://"
    with pytest.raises(SettingsInvalid, match="the broker is memory"):
        app.send_task("resize")
