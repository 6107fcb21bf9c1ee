"""What every `install` refuses: a package that is missing, too old, or has changed too much."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from dramatiq.brokers.stub import StubBroker
from dramatiq_sqs import SQSBroker as DramatiqBroker
from kombu import Connection
from kombu.transport import SQS
from taskiq import InMemoryBroker
from taskiq_aio_sqs import SQSBroker as TaskiqBroker

from claimcheck import SettingsInvalid
from claimcheck.integrations import celery, dramatiq, kombu, taskiq
from tests.conftest import REGION


def install(integration: str) -> None:
    install_in: dict[str, Any] = {
        "celery": lambda: celery.install(Celery("shop", broker="sqs://", set_as_current=False)),
        "dramatiq": lambda: dramatiq.install(DramatiqBroker(middleware=[], region_name=REGION)),
        "kombu": lambda: kombu.with_claim_check(Connection("sqs://")),  # type: ignore[no-untyped-call]
        "taskiq": lambda: taskiq.install(TaskiqBroker("tasks", region_name=REGION)),
    }
    install_in[integration]()


@pytest.mark.parametrize(
    ("integration", "missing", "extra"),
    [
        ("celery", "celery", "celery"),
        ("celery", "kombu", "celery"),
        ("kombu", "kombu", "celery"),
        ("dramatiq", "dramatiq", "dramatiq"),
        ("dramatiq", "dramatiq_sqs", "dramatiq"),
        ("taskiq", "taskiq", "taskiq"),
        ("taskiq", "taskiq_aio_sqs", "taskiq"),
    ],
)
def test_a_package_that_is_missing_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, integration: str, missing: str, extra: str
) -> None:
    for name in ("celery", "dramatiq", "kombu", "taskiq"):
        monkeypatch.delitem(sys.modules, f"claimcheck.integrations.{name}")
    for name in [each for each in sys.modules if f"{each}.".startswith(f"{missing}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsInvalid) as refused:
        importlib.import_module(f"claimcheck.integrations.{integration}")
    assert f"pip install 'letsgo-claimcheck[{extra}]'" in str(refused.value)
    assert missing in str(refused.value)


@pytest.mark.parametrize(
    ("integration", "found", "oldest"),
    [
        ("celery", "celery 5.3.6", "5.4"),
        ("celery", "kombu 5.3.7", "5.4"),
        ("kombu", "kombu 5.3.7", "5.4"),
        ("dramatiq", "dramatiq-sqs 0.4.3", "0.4.4"),
        ("taskiq", "taskiq-aio-sqs 2.1.0", "2.1.1"),
    ],
)
def test_a_package_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, integration: str, found: str, oldest: str
) -> None:
    package, _, version = found.partition(" ")
    metadata = tmp_path / f"{package.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsInvalid, match=f"{found} is too old .* {oldest}"):
        install(integration)


@pytest.mark.parametrize(
    ("integration", "owner", "name"),
    [
        ("celery", SQS.Channel, "_on_messages_ready"),
        ("kombu", SQS.Channel, "_on_messages_ready"),
        ("dramatiq", DramatiqBroker, "_ensure_queue"),
        ("taskiq", TaskiqBroker, "_to_ackable_message"),
    ],
)
def test_a_package_that_has_changed_too_much_is_refused(
    monkeypatch: pytest.MonkeyPatch, integration: str, owner: type, name: str
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(SettingsInvalid, match=f"has no {name}. Upgrade letsgo-claimcheck"):
        install(integration)


def test_what_the_claim_check_is_not_for_is_refused() -> None:
    given: Any = "shop"
    with pytest.raises(SettingsInvalid, match="an app of Celery, and got str"):
        celery.install(given)
    with pytest.raises(SettingsInvalid, match="a connection of kombu, and got str"):
        kombu.with_claim_check(given)
    with pytest.raises(SettingsInvalid, match="SQSBroker of dramatiq_sqs, and got StubBroker"):
        dramatiq.install(StubBroker(middleware=[]))
    given = InMemoryBroker()
    with pytest.raises(SettingsInvalid, match="SQSBroker of taskiq_aio_sqs, and got InMemory"):
        taskiq.install(given)
