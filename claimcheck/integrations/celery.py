"""The claim check for Celery on SQS: tasks of any size, with the code of the tasks unchanged.

    app = install(Celery("shop", broker="sqs://"))

It works in kombu's transport, on both sides: see `claimcheck.integrations.kombu`. A task's claim is
settled when Celery acknowledges its message: with `acks_late` that is after the task, and without
it before the task begins. Result backends are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.installing import Package, check_given
from claimcheck.integrations.kombu import HOOKS, KOMBU, carried_by, refuse_other_broker
from claimcheck.opening import Opener

CELERY = Package("celery", (5, 4), extra="celery")

try:
    import celery
    from kombu.connection import Connection
except ImportError as missing:
    raise CELERY.missing(missing) from missing

AppT = TypeVar("AppT", bound="celery.Celery")


def install(
    app: AppT,
    claim_check: ClaimCheck | None = None,
    *,
    purge: Purge | None = None,
    once: bool | None = None,
) -> AppT:
    """Give an app of Celery the claim check, where it sends and where its workers receive.

    Call it in the module that makes the app. Safe to repeat: the last one counts.

    Args:
        app: The app. Its broker may be set later.
        claim_check: By default made from the environment, on first use.
        purge: When contents are removed, in place of the claim check's own setting.
        once: Whether every message gets a record, also a small one: a task that was acknowledged
            does not run again for another delivery of its message.

    Returns:
        The same app.

    Raises:
        SettingsInvalid: It is not an app of Celery, or its broker is not SQS; Celery or kombu is
            too old, or too new; or an option is not known. A broker that is set later is refused by
            the first connection.
    """
    check_given(app, celery.Celery, "an app of Celery")
    CELERY.check({})
    KOMBU.check(HOOKS)
    for broker in _known_brokers(app):
        refuse_other_broker(broker.partition("://")[0])
    connect = app.amqp.Connection
    if isinstance(connect, _Connect):
        connect = connect.without
    app.amqp.Connection = _Connect(connect, Carrier(Opener(claim_check, purge=purge, once=once)))
    app.amqp._producer_pool = None  # those that it had have no claim check
    return app


class _Connect:
    """Makes an app's connections, with the claim check."""

    def __init__(self, without: Callable[..., Connection], carrier: Carrier) -> None:
        self.without = without
        self._carrier = carrier

    def __call__(self, *args: object, **kwargs: object) -> Connection:
        return carried_by(self._carrier, self.without(*args, **kwargs))


def _known_brokers(app: celery.Celery) -> set[str]:
    """Return the URLs that are known already. Asking for more makes the app read its settings."""
    if "CELERY_BROKER_URL" in os.environ:
        return {os.environ["CELERY_BROKER_URL"]}
    settings = app.conf if app.configured else app.__reduce_keys__()["changes"]
    names = ("broker_url", "broker_read_url", "broker_write_url")
    return {settings[name] for name in names if isinstance(settings.get(name), str)}
