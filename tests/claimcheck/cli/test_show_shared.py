"""`claimcheck show`: a message that several queues have, and one in an envelope."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claimcheck import ClaimCheck, open_store
from claimcheck.cli.show import report_on
from claimcheck.opening import consumer_of
from tests.claimcheck.support import message_body, noisy_body
from tests.support.command import run
from tests.support.envelopes import ENVELOPES, Envelope, from_sns

BILLING, SHIPPING = (f"https://sqs.eu-west-1.amazonaws.com/1234/{name}" for name in ("b", "s"))
LARGE = noisy_body(1_000_000)


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClaimCheck:
    url = f"sqlite:///{tmp_path}/claims.db"
    monkeypatch.setenv("CLAIMCHECK_STORE", url)
    return ClaimCheck(open_store(url))


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=[*ENVELOPES])
def test_each_queue_has_a_record(check: ClaimCheck, envelope: Envelope) -> None:
    body = envelope[0](check.seal(LARGE, shared=True).text)
    check.open(check.seal(LARGE, shared=True).text, consumer="other").complete()

    def state(queue: str) -> str:
        claim = report_on(body, queue).claim
        assert claim is not None
        assert claim.consumer == consumer_of(queue)
        return claim.state

    assert [state(queue) for queue in (BILLING, SHIPPING)] == ["there", "there"]
    with check.open(envelope[1](body), consumer=consumer_of(BILLING)):
        assert [state(queue) for queue in (BILLING, SHIPPING)] == ["leased", "there"]
    assert [state(queue) for queue in (BILLING, SHIPPING)] == ["done", "there"]
    check.close()


def test_without_a_queue_nobody_can_tell(check: ClaimCheck, tmp_path: Path) -> None:
    body = check.seal(LARGE, shared=True).text

    ended = run("claimcheck", "show", cwd=tmp_path, stdin=body)
    assert "unreadable: several queues have it. Say which one with --queue." in ended.stdout
    named = run("claimcheck", "show", "--queue", BILLING, cwd=tmp_path, stdin=body)
    assert "eu-west-1:1234:b" in named.stdout
    check.close()


def test_a_small_message_in_an_envelope() -> None:
    small = message_body("order:new", "small")
    body = from_sns(small)

    report = report_on(body, None)

    assert (report.type, report.route, report.size) == ("order:new", "inline", len(small))
    assert report.sent_size == len(body)
    assert json.loads(body)["Message"] == small
