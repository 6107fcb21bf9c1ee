"""The how-to on middleware: its files, run as a reader would run them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.docs.support import Reader, write_blocks


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    names = write_blocks("docs/how-to/middleware.md", tmp_path)
    assert names == {"tenants.py", "slow_ones.py", "timed_sends.py"}
    return Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db")


def test_a_context_variable_reaches_sync_and_async_handlers(reader: Reader) -> None:
    said = reader.type("python tenants.py")  # the two may share a line

    assert "order 42 of acme" in said
    assert "payment of acme" in said


def test_a_message_without_its_attribute_is_rejected(reader: Reader) -> None:
    reader.type("letsgo-queue enqueue --type order:new --payload '\"43\"'")
    reader.type("letsgo-queue worker tenants:worker --burst")

    assert "it names no tenant" in reader.type("letsgo-queue dead-letter list")


def test_one_sees_how_long_and_one_may_settle(reader: Reader) -> None:
    weekend = time.gmtime().tm_wday >= 5
    handled = [] if weekend else ["the report is handled"]
    assert reader.type("python slow_ones.py").splitlines() == [*handled, "slow: report:ready"]


def test_a_result_of_its_own(reader: Reader) -> None:
    assert reader.type("python timed_sends.py") == "26 bytes\n"
