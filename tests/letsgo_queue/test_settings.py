"""Settings, and how they choose the queue."""

from __future__ import annotations

import re
import uuid
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from pydantic import ValidationError

from letsgo_queue import Client, QueueNotFound, QueueSettings, SettingsInvalid, list_letsgo_queues
from letsgo_queue.local_http.transport import LocalHttpTransport
from letsgo_queue.settings import local_port
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import bodies, order
from tests.support.servers import AwsServer


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
    monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", "http://localhost:3002")
    monkeypatch.setenv("LETSGO_DEPLOYMENT", "staging")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    assert QueueSettings.from_environment() == QueueSettings(
        queue_url="memory://",
        local_queue_url="http://localhost:3002",
        deployment="staging",
        region="eu-central-1",
    )


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "LETSGO_QUEUE_URL": "",
            "LETSGO_LOCAL_QUEUE_URL": "",
            "LETSGO_DEPLOYMENT": "",
            "LETSGO_VENDOR_PREFIX": "",
            "AWS_REGION": "",
        },
    ],
)
def test_defaults_are_those_of_letsgo(environment: dict[str, str]) -> None:
    assert QueueSettings.from_environment(environment) == QueueSettings(
        queue_url=None,
        local_queue_url=None,
        deployment="main",
        vendor_prefix="letsgo",
        region=None,
    )


def test_a_line_break_at_the_end_of_a_setting_means_nothing() -> None:
    environment = {
        "LETSGO_QUEUE_URL": " memory://\n",
        "LETSGO_LOCAL_QUEUE_URL": "\r\n",
        "LETSGO_DEPLOYMENT": "staging\n",
        "LETSGO_VENDOR_PREFIX": "acme\n",
        "AWS_REGION": "eu-west-1\n",
    }

    assert QueueSettings.from_environment(environment) == QueueSettings(
        queue_url="memory://", deployment="staging", vendor_prefix="acme", region="eu-west-1"
    )


@pytest.mark.parametrize(("value", "port"), [("8080", 8080), ("0", 0), ("", 3002), (None, 3002)])
def test_the_port_of_the_local_worker_is_letsgos(value: str | None, port: int) -> None:
    assert local_port({} if value is None else {"PORT": value}) == port


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:80", "-1", "3002.5", "\u0663"])
def test_a_port_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^PORT="):
        local_port({"PORT": value})


class TestRegion:
    """URL, session, AWS_REGION, and then as boto3 has it; LetsGo's own where nothing says."""

    QUEUE = "http://localhost:4566/000000000000/orders"

    @pytest.fixture(autouse=True)
    def profile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = tmp_path / "config"
        config.write_text("[profile shop]\nregion = eu-north-1\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "shop")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")

    def region_of(self, queue: str, session: boto3.session.Session | None = None) -> str:
        settings = QueueSettings.from_environment()
        with closing(open_transport(queue, settings, session=session)) as transport:
            assert isinstance(transport, SqsTransport)
            return transport.client.meta.region_name

    def test_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        session = boto3.session.Session(region_name="eu-south-1")
        on_aws = "https://sqs.ap-south-1.amazonaws.com/123456789012/orders"

        assert self.region_of(on_aws, session) == "ap-south-1"
        assert self.region_of(self.QUEUE, session) == "eu-south-1"
        assert self.region_of(self.QUEUE) == "eu-west-1"
        monkeypatch.delenv("AWS_REGION")
        assert self.region_of(self.QUEUE) == "eu-west-2"
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        assert self.region_of(self.QUEUE) == "eu-north-1"
        monkeypatch.delenv("AWS_PROFILE")
        assert self.region_of(self.QUEUE) == "us-west-2"


def test_refuses_a_setting_that_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="quue_url"):
        QueueSettings.model_validate({"quue_url": "memory://"})


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryTransport),
        ("sqlite:///work.db", SqliteTransport),
        ("https://sqs.us-west-2.amazonaws.com/123456789012/orders", SqsTransport),
        ("https://sqs.us-west-2.amazonaws.com/123456789012/orders.fifo", SqsTransport),
        ("http://localhost:4566/000000000000/orders", SqsTransport),
        ("http://localhost:3002", LocalHttpTransport),
        ("http://localhost:3002/", LocalHttpTransport),
        ("http://[::1]:3002", LocalHttpTransport),
        ("https://worker.internal/jobs", LocalHttpTransport),
        # What emulators, and others that speak SQS, call a queue.
        ("http://localhost:9324/queue/orders", SqsTransport),
        ("http://localhost:4566/queue/us-east-1/000000000000/orders.fifo", SqsTransport),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/orders", SqsTransport),
        ("https://sqs.mnq.fr-par.example.com/project-1a2b-3c/orders", SqsTransport),
        ("https://message-queue.api.example.net/b1g8/dj600/orders", SqsTransport),
    ],
)
def test_url_chooses_the_kind_of_queue(url: str, kind: type) -> None:
    transport = open_transport(url, QueueSettings())

    assert isinstance(transport, kind)
    assert transport.url == url
    transport.close()


@pytest.mark.parametrize("end", ["/", "\n", "/\n", " "])
@pytest.mark.parametrize(
    "url",
    [
        "https://sqs.us-west-2.amazonaws.com/123456789012/orders.fifo",
        "http://localhost:4566/queue/us-east-1/000000000000/orders.fifo",
    ],
)
def test_what_follows_a_url_by_mistake_changes_nothing(url: str, end: str) -> None:
    with closing(open_transport(url + end, QueueSettings())) as transport:
        assert isinstance(transport, SqsTransport)
        assert (transport.url, transport.fifo) == (url, True)


@pytest.mark.parametrize("name", ["jobs#1.db", "jobs;1.db", "jobs&1.db"])
def test_a_sqlite_file_is_named_by_all_before_the_question_mark(tmp_path: Path, name: str) -> None:
    client = Client(f"sqlite:///{tmp_path}/{name}?visibility_timeout=60")
    client.enqueue(order())
    client.close()

    assert [path.name for path in tmp_path.glob("*.db")] == [name]


@pytest.mark.parametrize(
    "url",
    [
        "orders",
        "amqp://localhost/orders",
        "ftp://example.com",
        "https://sqs.us-west-2.amazonaws.com",
        "https://sqs.us-west-2.amazonaws.com/123456789012",
        "https://sqs.us-west-2.amazonaws.com/123456789012/or ders",
        "https://sqs.us-west-2.amazonaws.com/123456789012/orders#1",
        "https://sqs.us-west-2.amazonaws.com/123456789012/or\nders",
        "https://sqs.eusc-de-east-1.amazonaws.eu/123456789012",
        "http://localhost:4566/000000000000/or ders",
        "https://sqs.us-west-2.amazonaws.com/123456789012/orders.fifo?visibility_timeout=5",
        "http://localhost:4566/000000000000/orders?x",
        "http://localhost:port/000000000000/orders",
        "http://localhost:99999",
        "sqlite:///jobs%00.db",
        "sqlite:///jobs%ff.db",
        "http://[::1",
    ],
)
def test_refuses_a_url_that_names_no_queue(url: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Client(url).enqueue(order())

    assert repr(url) in str(refused.value)
    assert not refused.value.retryable


def test_finds_the_queue_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument, the local URL, the URL, the deployment's queue."""
    deployed = Client()
    with pytest.raises(QueueNotFound, match="LetsGo deployment 'main' in us-west-2"):
        deployed.transport()

    url = f"sqlite:///{tmp_path}/cloud.db"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    assert deployed.transport().url == url

    local_url = "http://localhost:3002"
    monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", local_url)
    assert Client().transport().url == local_url

    assert Client("memory://").transport().url == "memory://"
    assert Client("memory://").transport("memory://other").url == "memory://other"


class Deployment:
    """A LetsGo deployment of its own, so that others on the server do not matter."""

    def __init__(self, aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        monkeypatch.setenv("LETSGO_DEPLOYMENT", self.name)

    def make_queue(self, name: str = "letsgo-queue", deployment: str | None = None) -> str:
        url = self.aws.make_queue(name=name)
        tags = {"LetsGoDeployment": deployment or self.name}
        self.aws.sqs().tag_queue(QueueUrl=url, Tags=tags)
        return url


@pytest.fixture
def deployment(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    return Deployment(aws, monkeypatch)


def test_finds_the_one_queue_of_the_deployment(deployment: Deployment) -> None:
    deployment.make_queue(deployment="another")
    deployment.make_queue(name="other-prefix")
    deployment.aws.make_queue(name="letsgo-untagged")
    url = deployment.make_queue()

    client = Client()
    result = client.enqueue(order())

    assert result.queue == url
    assert len(bodies(client.transport())) == 1


def test_lists_the_queues_of_others_when_the_deployment_has_none(deployment: Deployment) -> None:
    other = deployment.make_queue(deployment="another")

    with pytest.raises(QueueNotFound) as none:
        Client().enqueue(order())

    text = str(none.value)
    which = f"none of the letsgo-* queues in {deployment.aws.region} has the tag"
    assert f"{which} LetsGoDeployment={deployment.name}" in text
    assert f"{other} (LetsGoDeployment=another)" in text
    assert "Set LETSGO_QUEUE_URL, LETSGO_DEPLOYMENT or AWS_REGION" in text


def test_lists_the_queues_when_the_deployment_has_several(deployment: Deployment) -> None:
    urls = [deployment.make_queue() for _ in range(2)]

    tag = rf"2 of the letsgo-\* queues in .* have the tag LetsGoDeployment={deployment.name}"
    with pytest.raises(QueueNotFound, match=tag) as several:
        Client().enqueue(order())

    for url in urls:
        assert url in str(several.value)


def test_lists_the_queues_of_letsgo(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = deployment.make_queue(), deployment.make_queue(deployment="another")
    untagged = deployment.aws.make_queue(name="letsgo-untagged")

    assert list_letsgo_queues(deployment.name) == [ours]
    assert {ours, other} <= set(list_letsgo_queues())
    assert untagged not in list_letsgo_queues()


def test_a_vendor_may_have_another_prefix(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.make_queue()
    ours = deployment.make_queue(name="acme-queue")
    monkeypatch.setenv("LETSGO_VENDOR_PREFIX", "acme")

    client = Client()
    assert client.transport().url == ours
    client.close()
    assert list_letsgo_queues(deployment.name) == [ours]


@pytest.mark.parametrize("variable", ["LETSGO_QUEUE_URL", "LETSGO_LOCAL_QUEUE_URL"])
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:work.db", "a SQLite queue is sqlite:///relative/path.db or"),
        ("sqlite://work.db", "a SQLite queue is sqlite:///relative/path.db or"),
        ("sqlite:///work.db?visibility_timeout=x", "visibility_timeout"),
        ("memory:work", "expected an SQS queue URL"),
        ("postgres://localhost", "expected an SQS queue URL"),
        ("http://[", "not a URL"),
    ],
)
def test_an_error_names_the_variable_that_has_the_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, url: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, f" {url}\n")

    with pytest.raises(SettingsInvalid, match=f"^{variable}: queue '{re.escape(url)}': .*{text}"):
        Client().enqueue(order())
    with pytest.raises(SettingsInvalid, match=r"^queue 'ftp://given': "):
        Client().enqueue(order(), queue="ftp://given")
    assert list(tmp_path.iterdir()) == []
