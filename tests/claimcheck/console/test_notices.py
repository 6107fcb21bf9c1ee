"""What the overview says of the doctor's findings, and of what the month costs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from starlette.testclient import TestClient

from claimcheck.console.notices import Notices, cost_text
from letsgo_queue import Client
from letsgo_queue.admin.watch import Billed
from letsgo_queue.console.extension import ConsoleOptions, Notice
from letsgo_queue.console.site import make_site
from letsgo_queue.settings import QueueSettings
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


def make_queue(folder: Path, name: str, *, mode: int) -> str:
    """A queue in a file that these may write to."""
    url = f"sqlite:///{folder / name}"
    with_queue = Client(url)
    with_queue.enqueue({"type": "any"})
    with_queue.close()
    (folder / name).chmod(mode)
    return url


def found(*queues: str) -> dict[str, Notice]:
    notices = Notices(ConsoleOptions(queues=queues))
    notices.ask()
    return {each.title: each for each in notices.known()}


def test_a_finding_has_its_command_and_a_file_costs_nothing(tmp_path: Path) -> None:
    notices = found(make_queue(tmp_path, "open.db", mode=0o666))

    (finding,) = (each for title, each in notices.items() if title == "queue.file")
    assert finding.level != "pass"
    assert finding.command.startswith("chmod ")
    assert "passed" in notices["doctor"].text
    assert not [title for title in notices if title.startswith("cost")]


def test_what_one_of_two_queues_has_names_it(tmp_path: Path) -> None:
    notices = found(
        make_queue(tmp_path, "open.db", mode=0o666), make_queue(tmp_path, "mine.db", mode=0o600)
    )

    assert "queue.file of open.db" in notices
    assert not [title for title in notices if "mine.db" in title]


def test_no_page_waits_for_it(tmp_path: Path) -> None:
    url = make_queue(tmp_path, "open.db", mode=0o666)
    site = make_site(
        ConsoleOptions(queues=[url]), QueueSettings(), token="a-token", hosts=["testserver"]
    )
    with TestClient(site) as console:
        assert "looks at everything now" in console.get("/", params={"token": "a-token"}).text or (
            "queue.file" in console.get("/").text
        )
        wait_for(lambda: "queue.file" in console.get("/parts").text, "the doctor")
        assert f"chmod go-w {tmp_path}/open.db" in console.get("/").text


def test_a_setting_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices = Notices(ConsoleOptions(queues=[make_queue(tmp_path, "mine.db", mode=0o600)]))
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "much")

    notices.start()
    wait_for(lambda: notices.known()[0].level == "fail", "the doctor")
    notices.stop()

    assert "CLAIMCHECK_THRESHOLD" in notices.known()[0].text


def test_on_sqs_the_month_is_added_up(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ministack.make_queue()
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")
    name = url.rpartition("/")[2]
    boto3.client("cloudwatch", endpoint_url=ministack.endpoint_url).put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": "QueueName", "Value": name}],
                "Timestamp": datetime.now(UTC),
                "Value": value,
            }
            for metric, value in (
                ("NumberOfMessagesSent", 1_000_000),
                ("SentMessageSize", 70_000 * 1_000_000),
                ("NumberOfMessagesReceived", 1_000_000),
                ("NumberOfMessagesDeleted", 900_000),
                ("NumberOfEmptyReceives", 100_000),
            )
        ],
    )

    notices = found(url)

    assert notices[f"cost of {name}"].text.startswith("at most $2.00 this month so far.")
    assert "queue.redrive" in notices


def test_messages_over_64_kb_count_as_several_requests() -> None:
    billed = Billed(
        sent=1_000_000, sent_bytes=70_000_000_000, received=1_000_000, deleted=0, empty=0
    )
    queue = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"

    assert "$1.60 " in cost_text(billed, queue, "us-west-2")
    assert "$2.00 " in cost_text(billed, f"{queue}.fifo", "us-west-2")
    assert cost_text(billed, queue, "mars-1") == "the prices of mars-1 are not known here."
