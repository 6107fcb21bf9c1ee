"""Fixtures of the tests of administration."""

from __future__ import annotations

import pytest

from tests.queue.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
