"""Where the claims of LetsGo's local mode go: one file, which both ends find."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from claimcheck import ClaimCheckMiddleware, ClaimCheckSettings, SettingsInvalid, open_store
from claimcheck.settings import DEFAULT_STORE, claim_check_for

LOCAL = "http://localhost:3002"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where this user's programs keep their state."""
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return state


def use_store_for(queue: str) -> None:
    """Use the store that goes with a queue, as the claim check would."""
    claim_check_for(queue)
    with closing(open_store(ClaimCheckSettings().store_for(queue))) as store:
        store.look_up("none")


@pytest.mark.parametrize(
    "queue",
    [
        LOCAL,
        "http://localhost:3002/",
        "http://127.0.0.1:3002",
        "http://[::1]:3002",
        "http://0.0.0.0:41234",
        "http://worker.internal:80/jobs",
    ],
)
def test_every_name_of_a_local_queue_leads_to_one_file(state: Path, queue: str) -> None:
    use_store_for(queue)

    assert list(state.rglob("*.db")) == [state / "letsgo-claimcheck" / "claims.db"]


@pytest.mark.parametrize(
    "queue",
    ["http://localhost:4566/000000000000/orders", "https://sqs.us-west-2.amazonaws.com/1/orders"],
)
def test_an_sqs_queue_keeps_its_claims_in_dynamodb(state: Path, queue: str) -> None:
    assert ClaimCheckSettings().store_for(queue) == DEFAULT_STORE


def test_the_folder_is_made_on_first_use_for_this_user_alone(state: Path) -> None:
    ClaimCheckSettings().store_for(LOCAL)
    assert not state.exists()

    ClaimCheckMiddleware().prepare(LOCAL)

    folder = state / "letsgo-claimcheck"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_is_there_is_used(state: Path) -> None:
    (state / "letsgo-claimcheck").mkdir(parents=True)

    use_store_for(LOCAL)

    assert (state / "letsgo-claimcheck" / "claims.db").is_file()


@pytest.mark.parametrize("name", ["", "claims.db"])
def test_what_others_can_write_is_refused(state: Path, name: str) -> None:
    use_store_for(LOCAL)
    path = state / "letsgo-claimcheck" / name
    path.chmod(path.stat().st_mode | 0o020)

    with pytest.raises(SettingsInvalid, match=r"can be written by other users.*CLAIMCHECK_STORE="):
        ClaimCheckMiddleware().prepare(LOCAL)


@pytest.mark.skipif(os.getuid() != 0, reason="root alone gives things away")
@pytest.mark.parametrize(
    ("name", "why"), [("", "belongs to another user"), ("claims.db", "is a link that another user")]
)
def test_what_another_user_has_put_there_is_refused(
    state: Path, tmp_path: Path, name: str, why: str
) -> None:
    path = state / "letsgo-claimcheck"
    path.mkdir(0o700, parents=True)
    if name:
        path /= name
        path.symlink_to(tmp_path / "theirs.db")
    os.chown(path, 12345, 12345, follow_symlinks=False)

    with pytest.raises(SettingsInvalid, match=f"{path} {why}"):
        ClaimCheckMiddleware().prepare(LOCAL)
    assert not (tmp_path / "theirs.db").exists()


@pytest.mark.parametrize("queue", [LOCAL, "memory://", "sqlite:///work.db"])
def test_nothing_is_made_where_another_store_is_set(
    state: Path, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    if queue == LOCAL:
        monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")

    claim_check_for(queue)

    assert not state.exists()


def test_a_folder_that_cannot_be_made_says_what_to_set(state: Path) -> None:
    state.write_text("not a folder")

    with pytest.raises(SettingsInvalid, match=r"letsgo-claimcheck.*CLAIMCHECK_STORE=sqlite:"):
        ClaimCheckMiddleware().prepare(LOCAL)


@pytest.mark.parametrize(
    "name",
    ["with space", "50%25", "a#b", "what?now=1", "Grüße 🎉", "semi;colon&and=is", "a\nb", "+"],
)
def test_the_users_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    state = tmp_path / name
    monkeypatch.setenv("XDG_STATE_HOME", str(state))

    use_store_for(LOCAL)

    assert (state / "letsgo-claimcheck" / "claims.db").is_file()
