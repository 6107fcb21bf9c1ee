"""docs/how-to/console.md, followed in a shell."""

from __future__ import annotations

import re
from http.client import HTTPConnection
from pathlib import Path

from claimcheck.console import listing
from letsgo_queue.admin.sqs_watch import PEEK_SECONDS
from letsgo_queue.cli.console_command import DEFAULT_PORT
from letsgo_queue.console import bodies, queues, sampling
from tests.docs.support import ROOT, Reader, commands
from tests.support.waiting import wait_for

PAGE = "docs/how-to/console.md"


def test_the_page_is_followed(tmp_path: Path) -> None:
    install, export, enqueue, start = commands(PAGE)
    assert install == "pip install 'letsgo-claimcheck[console]'"
    name, _, value = export.removeprefix("export ").partition("=")
    reader = Reader(tmp_path, **{name: value})

    reader.type(enqueue)
    with reader.leave_running(f"{start} --port 0") as log:
        pattern = r"http://(127\.0\.0\.1:\d+)(/\?token=\S+)\n"
        (host, path), *_ = wait_for(lambda: re.findall(pattern, log.read_text()), "the address")
        connection = HTTPConnection(host, timeout=30)
        connection.request("GET", path)
        signed_in = connection.getresponse()
        signed_in.read()
        cookie = (signed_in.headers["set-cookie"] or "").partition(";")[0]
        connection.request("GET", "/queues/0/messages", headers={"cookie": cookie})
        shown = connection.getresponse().read().decode()
        connection.close()

    assert "order:new" in shown
    assert "work.db" in shown


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join((ROOT / PAGE).read_text().split())

    assert f"if not {DEFAULT_PORT};" in text
    assert f"the first {bodies.MAX_SHOWN_BYTES // 1000} KB" in text
    assert f"up to {queues.LOOK_MESSAGES} messages or {queues.LOOK_LETTERS:,} dead letters" in text
    assert f"for up to {PEEK_SECONDS} seconds" in text
    assert f"Up to {listing.LOOK_CLAIMS:,} claims are listed" in text
    assert f"every {sampling.AWS_SAMPLE_SECONDS:.0f} seconds, and CloudWatch every minute" in text
    day = 24 * 3600
    assert f"costs {2 * day / sampling.AWS_SAMPLE_SECONDS:,.0f} requests" in text
    assert sampling.TRAFFIC_SECONDS == 60
