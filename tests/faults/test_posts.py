"""The posts of the soak run in short."""

from __future__ import annotations

from tests.faults.posts import CONNECTIONS, post


def test_every_post_is_answered_and_handled_once() -> None:
    count = 20 * CONNECTIONS

    posted = post(count)

    assert posted.statuses == {201: count}
    assert sorted(posted.numbers) == list(range(count))
