"""A fleet moves from one store to another and back with messages in flight: none is lost.

`make long` moves 120 messages each way; `make soak` moves 1,000.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.moving import MOVES, Move, move
from tests.support.servers import AwsServer


@pytest.mark.long
@pytest.mark.parametrize("way", MOVES)
def test_nothing_is_lost_or_handled_twice(way: Move, ministack: AwsServer, tmp_path: Path) -> None:
    moved = move(way, 120, ministack, tmp_path)

    assert moved.problems() == []
    assert moved.sent == 120
