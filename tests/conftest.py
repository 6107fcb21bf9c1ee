"""What every test stands on: a clean environment, and AWS servers for those that ask for one."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING

import boto3
import hypothesis
import pytest

from letsgo_queue import default_client, set_default_client
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker import loop
from tests.support.aws_models import read_once
from tests.support.servers import AwsServer, run_ministack, run_moto

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REGION = "us-west-2"
SETTINGS = ("AWS_", "CLAIMCHECK_", "LETSGO_")
"""What the names of settings begin with."""

RETRY_SECONDS = 0.05

CALLERS_AWS = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
"""What the environment says of AWS, which only tests on AWS itself see."""


WAITING = (
    (
        "tests/claimcheck/integrations/test_celery_workers.py",
        "tests/claimcheck/integrations/test_dramatiq_workers.py",
        "tests/claimcheck/integrations/sns/test_workers.py",
        "tests/claimcheck/integrations/django/test_workers.py",
        "tests/faults/test_duplicates.py",
        "tests/faults/test_long_handlers.py",
        "tests/faults/test_soak.py",
    ),
    (
        "tests/faults/test_network.py",
        "tests/letsgo_queue/console/test_browser.py",
        "tests/claimcheck/audit/test_page.py",
        "tests/claimcheck/integrations/test_taskiq_workers.py",
        "tests/claimcheck/cli/test_iam_calls.py",
        "tests/docs/test_types.py",
        "tests/docs/test_size_audit.py",
        "tests/claimcheck/audit/test_pytest_plugin.py",
        "tests/faults/test_moving.py",
    ),
)
"""Slow modules, most of which wait: those that the first worker begins with, and the second."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--aws",
        action="store_true",
        help="run the integration tests on AWS too, as the environment says; "
        "what they make there has random names and is removed",
    )


# On a busy machine one example may take as long as it likes.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    read_once()
    # A shell that runs the tests in the background has them, and all they start, ignore interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "aws" in metafunc.fixturenames:
        real = ["aws"] if metafunc.config.getoption("--aws") else []
        moto = pytest.param("moto", marks=pytest.mark.long)
        metafunc.parametrize("aws", ["ministack", moto, *real], indirect=True)


@pytest.hookimpl(trylast=True)  # when those that do not run are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have two workers of pytest-xdist begin with the tests that wait.

    Each worker gets a slice, and takes from the end of another's when it is done. A slow test at
    an end would run alone, so slow modules come first. Two workers have them all: if every worker
    began with one, the cores would be idle. Modules stay whole, as many start servers or a browser.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers <= len(WAITING):
        return
    place = {module: number for number, modules in enumerate(WAITING) for module in modules}
    waiting: list[list[pytest.Item]] = [[] for _ in range(workers)]
    others: list[pytest.Item] = []
    for item in items:
        number = place.get(item.nodeid.partition("::")[0])
        (others if number is None else waiting[number]).append(item)
    left = iter(others)
    ordered: list[pytest.Item] = []
    for number, begins in enumerate(waiting):
        size = (len(items) - len(ordered)) // (workers - number)
        ordered += [*begins, *islice(left, max(size - len(begins), 0))]
    items[:] = [*ordered, *left]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Fail the last test of a module whose fixtures leave settings to the next module."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        left = [name for name in os.environ if name.startswith(SETTINGS)]
        assert left == [], "a fixture has left settings in the environment"


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hide the settings of a module's fixtures; without credentials nothing reaches AWS."""
    hide(monkeypatch, *SETTINGS)
    # Where the claims of LetsGo's local mode would go.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    nowhere = str(tmp_path_factory.getbasetemp() / "no-such-file")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # boto3 keeps the credentials that it found first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session", autouse=True)
def clean_session() -> Iterator[None]:
    """Hide the caller's settings from all fixtures, and have botocore try again soon."""
    with pytest.MonkeyPatch.context() as patch:
        hide(patch, *SETTINGS)
        shorten_retries(patch)
        yield


@pytest.fixture(scope="session")
def ministack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_moto(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """SQS and DynamoDB: the test runs on every server that speaks them."""
    name: str = request.param
    if name == "aws":
        server = use_aws(monkeypatch)
    else:
        server = use_emulator(monkeypatch, name, request.getfixturevalue(f"{name}_url"))
    yield server
    server.remove_all()


@pytest.fixture
def ministack(ministack_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """MiniStack alone, for what needs only one server or the strictest."""
    server = use_emulator(monkeypatch, "ministack", ministack_url)
    yield server
    server.remove_all()


@pytest.fixture
def own_default_client() -> Iterator[None]:
    """The default client of one test."""
    set_default_client(None)
    yield
    default_client().close()
    set_default_client(None)


def shorten_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have botocore try again soon: of what it waits for, nothing takes seconds here."""

    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, RETRY_SECONDS))

    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(time=time.time, sleep=sleep))


def use_emulator(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> AwsServer:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    # An emulator is one server, which knows at once that a queue is empty.
    monkeypatch.setattr(SqsTransport, "seconds_to_prove_empty", 0)
    if name == "moto":
        # It gives one message to two requests that come at once, which SQS does too, but rarely.
        monkeypatch.setattr(loop, "MAX_RECEIVERS", 1)
    return AwsServer(name, url, REGION, _session_of_emulators())


@functools.cache
def _session_of_emulators() -> boto3.Session:
    """One for all tests: to make a client, each session reads megabytes of AWS's models anew.

    It has read its settings when a test may break what the environment says.
    """
    session = boto3.Session("test", "test", region_name=REGION)
    session.client("sts").close()
    return session


def use_aws(monkeypatch: pytest.MonkeyPatch) -> AwsServer:
    hide(monkeypatch, "AWS_")
    for name, value in CALLERS_AWS.items():
        if not name.startswith("AWS_ENDPOINT_URL"):
            monkeypatch.setenv(name, value)
    region = CALLERS_AWS.get("AWS_REGION") or CALLERS_AWS.get("AWS_DEFAULT_REGION") or REGION
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    return AwsServer("aws", None, region)


def hide(monkeypatch: pytest.MonkeyPatch, *prefixes: str) -> None:
    for name in list(os.environ):
        if name.startswith(prefixes):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without it the test is skipped."""
    from tests.support.browser import INSTALL, chromium_path, run_chromium

    path = chromium_path()
    if path is None:
        pytest.skip(INSTALL)
    with run_chromium(path) as running:
        yield running
