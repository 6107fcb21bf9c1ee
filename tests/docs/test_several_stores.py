"""docs/how-to/several-stores.md: its file runs, and its settings are read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from claimcheck import ClaimCheckSettings
from tests.docs.support import Reader, commands, write_blocks

PAGE = "docs/how-to/several-stores.md"


def test_a_function_chooses_by_size(tmp_path: Path) -> None:
    assert write_blocks(PAGE, tmp_path) == {"by_size.py"}
    reader = Reader(tmp_path, LETSGO_QUEUE_URL="sqlite:///work.db?max_message_bytes=262144")

    said = reader.type("python by_size.py").splitlines()

    assert sorted(said) == ["a video of 600000 characters", "a video of 6000000 characters"]
    for name in ("small", "large"):  # each has the receipt of one
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as file:
            assert file.execute("SELECT state FROM claim_records").fetchall() == [("done",)]


def test_the_settings_are_read() -> None:
    exports = [command.removeprefix("export ").partition("=") for command in commands(PAGE)]
    settings = ClaimCheckSettings.from_environment(
        {name: value.strip("'") for name, _, value in exports}
    )

    assert settings.store == "dynamodb://letsgo-claims"
    assert settings.stores == {"video:*": "s3://videos", "report:*": "dynamodb://reports"}
