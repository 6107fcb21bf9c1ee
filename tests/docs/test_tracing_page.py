"""The how-to on tracing, run as a reader would run it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from letsgo_queue import tracing
from letsgo_queue.counting import OUTCOMES
from letsgo_queue.otel.spans import SCHEMA_URL
from tests.docs.support import ROOT, Reader, write_blocks

PAGE = "docs/how-to/tracing.md"


def test_the_program_prints_its_spans(tmp_path: Path) -> None:
    assert write_blocks(PAGE, tmp_path) == {"tracing.py", "shop.py"}
    reader = Reader(tmp_path)
    assert reader.type("python shop.py").splitlines() == [
        "send orders.db ",
        "enqueue orders.db ",
        "SELECT ",
        "handler ",
        "acknowledge orders.db ",
        "process orders.db handled",
    ]
    assert reader.type("python tracing.py") == ""


def test_the_page_names_every_step_and_every_outcome() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for step in get_args(tracing.Step):
        assert step in text
    for outcome in {*OUTCOMES.values(), "retried", "duplicate", "held"}:
        assert f"`{outcome}`" in text
    version = SCHEMA_URL.rpartition("/")[2]
    assert f"version {version.rpartition('.')[0]}." in text
