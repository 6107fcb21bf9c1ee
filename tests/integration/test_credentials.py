"""Credentials that cannot be fetched: errors of ours from every door, and a worker that goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from claimcheck import open_store
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue import (
    Client,
    EnqueueManyError,
    LetsGoError,
    MessageHandled,
    MessageNotSent,
    QueueSettings,
    SendFailed,
    Worker,
    list_letsgo_queues,
)
from letsgo_queue.admin import create_queue, open_admin
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker import loop
from tests.letsgo_queue.support import events_of, order, printed, running
from tests.support.command import Command, run
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
SECRET = "wJalrXUtnFEMI"

PROCESSES = {
    "prints no JSON": f"echo not JSON, {SECRET}",
    "prints nothing": "true",
    "prints a list": f"echo '[\"{SECRET}\"]'",
    "prints another version": "echo '{\"Version\": 2}'",
    "prints half of it": 'echo \'{"Version": 1, "AccessKeyId": "key"}\'',
    "prints no UTF-8": r"printf '\377'",
    "fails with a traceback": "printf 'Traceback:\\n  in line 1\\nno network' >&2; exit 1",
    "prints what has expired": (
        'echo \'{"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret",'
        ' "SessionToken": "token", "Expiration": "2020-01-01T00:00:00Z"}\''
    ),
    "expires at no time": (
        'echo \'{"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret",'
        ' "SessionToken": "token", "Expiration": "soon"}\''
    ),
}

ROLE = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r", "AWS_ROLE_SESSION_NAME": "session"}

ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "a token file is missing": {**ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token"},
    "a token file is a folder": {**ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/"},
    "STS does not answer": {
        **ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/proc/version",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
    },
    "a container's token is none": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a\nb",
    },
}

PROFILES = {
    "SSO was never used": "sso_start_url=https://x\nsso_region=eu-west-1\nsso_account_id=1\n"
    "sso_role_name=r",
    "a command is missing": "credential_process = /no/such/command",
    "a command cannot run": "credential_process = /",
}

UNUSABLE = {
    "a profile is missing": {"AWS_PROFILE": "no-such-profile"},
    "retries are none": {"AWS_MAX_ATTEMPTS": "none"},
    "a retry mode is none": {"AWS_RETRY_MODE": "none"},
    "defaults are none": {"AWS_DEFAULTS_MODE": "none"},
    "half of the credentials": {"AWS_ACCESS_KEY_ID": "key"},
}

every_failure = pytest.mark.parametrize(
    "failure", [*PROCESSES, *ENVIRONMENTS, *PROFILES, *UNUSABLE]
)


def set_up(failure: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in {**ENVIRONMENTS, **UNUSABLE}.get(failure, {}).items():
        monkeypatch.setenv(name, value)
    profile = PROFILES.get(failure, "")
    if failure in PROCESSES:
        profile = f"credential_process = {write_process(folder, PROCESSES[failure])}"
    write_config(folder, profile, monkeypatch)


def write_process(folder: Path, script: str) -> Path:
    process = folder / "process"
    process.write_text(f"#!/bin/sh\n{script}\n")
    process.chmod(0o755)
    return process


def write_config(folder: Path, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "config"
    config.write_text(f"[default]\n{profile}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


def read_store() -> object:
    with closing(open_store("dynamodb://claims")) as store:
        return store.look_up("claim@")


DOORS: Mapping[str, Callable[[], object]] = {
    "enqueue": lambda: Client(URL).enqueue(order()),
    "enqueue, found by deployment": lambda: Client().enqueue(order()),
    "aenqueue": lambda: asyncio.run(Client(URL).aenqueue(order())),
    "enqueue_many": lambda: Client(URL).enqueue_many([order(), order()]),
    "run": lambda: Worker(client=Client(URL)).run(burst=True),
    "a store": read_store,
    "a table": lambda: ClaimTable("claims").check(),
    "a status": lambda: open_admin(URL, QueueSettings()).status(),
    "dead letters": lambda: open_admin(URL, QueueSettings()).dead_letters(),
    "a new queue": lambda: create_queue("orders", QueueSettings()),
    "a list": list_letsgo_queues,
}


@every_failure
def test_every_door_raises_an_error_of_ours(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(failure, tmp_path, monkeypatch)

    for door, use in DOORS.items():
        with pytest.raises(LetsGoError) as raised:
            use()
        errors: list[BaseException] = [raised.value]
        if isinstance(raised.value, EnqueueManyError):
            assert raised.value.attempted == 2
            errors += raised.value.errors.values()
        for error in errors:
            assert "\n" not in str(error), door
            assert SECRET not in printed(error), door
            may_pass = failure not in UNUSABLE and door != "enqueue, found by deployment"
            if door != "a store":  # it has retries of its own, and knows none of these settings
                assert getattr(error, "retryable", None) is may_pass, (door, error)


@pytest.mark.parametrize(
    "failure",
    [
        "a token file is missing",
        "a token file is a folder",
        "STS does not answer",
        "SSO was never used",
    ],
)
def test_a_client_that_the_program_made_raises_no_other_errors(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its credentials are fetched when it is first used."""
    set_up(failure, tmp_path, monkeypatch)

    with closing(boto3.session.Session().client("sqs", "eu-west-1")) as sqs:
        with pytest.raises(SendFailed, match="Error when retrieving credentials") as refused:
            Client(SqsTransport(URL, client=sqs)).enqueue(order())
        assert refused.value.retryable


def test_a_client_that_signs_nothing_needs_no_credentials(ministack: AwsServer) -> None:
    with FaultyServer(str(ministack.endpoint_url)) as server:
        server.answer("GetQueueAttributes", {"Attributes": {"MaximumMessageSize": "1024"}})
        sqs = boto3.session.Session().client(
            "sqs",
            "eu-west-1",
            endpoint_url=server.url,
            config=Config(signature_version=UNSIGNED),
        )
        transport = SqsTransport(f"{server.url}/000000000000/orders", client=sqs)

        assert transport.max_message_bytes() == 1024
        transport.close()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("letsgo-queue", f"queue status --queue {URL}"),
        ("letsgo-queue", f"enqueue --type a:b --queue {URL}"),
        ("letsgo-queue", "worker app:worker --burst"),
        ("claimcheck", "store check"),
        ("claimcheck", "enqueue --type a:b"),
    ],
)
@pytest.mark.parametrize("failure", ["a token file is missing", "fails with a traceback"])
def test_a_command_says_it_in_one_line(
    failure: str,
    command: Command,
    arguments: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_up(failure, tmp_path, monkeypatch)
    monkeypatch.setenv("LETSGO_QUEUE_URL", URL)
    (tmp_path / "app.py").write_text("from letsgo_queue import Worker\nworker = Worker()\n")

    tried = run(command, *arguments.split(), cwd=tmp_path)

    assert tried.returncode == 1
    assert tried.stderr.splitlines()[-1].startswith("error: ")
    assert "Error when retrieving credentials" in tried.stderr
    assert "Traceback (" not in tried.stderr


@pytest.fixture
def url(ministack: AwsServer) -> str:
    return ministack.make_queue()


@pytest.fixture
def given(ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a command prints: credentials that are so near their end that each call has new ones."""
    printed = tmp_path / "credentials.json"
    write_config(
        tmp_path, f"credential_process = {write_process(tmp_path, f'cat {printed}')}", monkeypatch
    )
    ministack.sqs()  # it keeps its own credentials
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    print_credentials(printed)
    return printed


def print_credentials(path: Path) -> None:
    """Make them what the command prints, from one moment to the next."""
    soon = datetime.now(UTC) + timedelta(minutes=5)
    credentials = {
        "Version": 1,
        "AccessKeyId": "test",
        "SecretAccessKey": "test",
        "SessionToken": "token",
        "Expiration": soon.isoformat(),
    }
    replace(path, json.dumps(credentials))


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def worker(url: str, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(loop, "MAX_PAUSE_SECONDS", 0.08)
    worker = Worker(url, wait_seconds=0)
    worker.default(lambda message: None)
    return worker


@pytest.mark.parametrize("begins", ["with credentials", "without"])
def test_a_worker_goes_on_polling(
    begins: str, given: Path, url: str, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    events = events_of(worker)
    client = Client(url)
    if begins == "with credentials":
        client.enqueue(order())
    else:
        replace(given, "no JSON")
    with running(worker):
        if begins == "with credentials":
            wait_for(lambda: events, "the first message")
            replace(given, "no JSON")
        wait_for(lambda: caplog.text.count("Trying again in") >= 5, "its tries")
        with pytest.raises(LetsGoError) as refused:
            client.enqueue(order())
        assert refused.value.retryable
        print_credentials(given)
        client.enqueue(order())
        handled = 1 + (begins == "with credentials")
        wait_for(lambda: len(events) == handled, "the message after that")

    assert all(isinstance(event, MessageHandled) for event in events)
    assert "Error when retrieving credentials" in caplog.text
    assert "JSONDecodeError" in caplog.text
    pauses = [record.args[1] for record in caplog.records if "Trying again" in record.msg]  # type: ignore[index]  # it has two
    assert pauses[:4] == [0.01, 0.02, 0.04, 0.08]
    client.close()


def test_what_is_not_sent_for_want_of_credentials_is_told(given: Path, url: str) -> None:
    client = Client(url)
    told: list[object] = []
    client.add_listener(told.append)
    replace(given, "no JSON")

    with pytest.raises(EnqueueManyError) as refused:
        client.enqueue_many([order(), order()])
    print_credentials(given)
    client.enqueue(order())

    assert refused.value.retryable
    assert [type(each) for each in told[:2]] == [MessageNotSent] * 2
    client.close()
