"""The setting of encryption: which keys it names, and that nobody sees them."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from claimcheck import (
    ClaimCheckMiddleware,
    ClaimCheckSettings,
    SettingsInvalid,
    open_encryption,
)
from claimcheck.core import ticket as tickets
from claimcheck.settings import claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.core.encrypting import (
    AES,
    KEY,
    OLD_KEY,
    STRANGE_KEY,
    claim_check,
)
from tests.claimcheck.support import SECRET, message_body


class TestSetting:
    @pytest.mark.parametrize(
        "value",
        [
            KEY,
            f"aes128:{KEY}",
            f"AES256:{KEY}",
            "aes256",
            "none",
            "None",
            "none,none",
            "aes256:",
            f"aes256:{KEY[:-4]}",
            f"aes256:{KEY},",
            f"aes256:{KEY},{KEY[:-2]}",
            f"aes256:{KEY},vault:{OLD_KEY}",
            f"kms://alias/orders,{KEY}",
            "kms:alias/orders",
            "kms://",
            "kms://two words",
            "kms://key?region=eu-west-1&endpoint=x",
            "kms://key?reuse_minutes=0",
            "kms://key?reuse_minutes=nan",
            "kms://key?reuse_minutes=1441",
            "kms://key?reuse_minutes=",
            ",",
        ],
    )
    def test_what_names_no_key_is_refused(
        self, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", value)

        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_ENCRYPTION") as refused:
            claim_check_for("memory://")
        assert_no_key_in("".join(traceback.format_exception(refused.value)))

    @pytest.mark.parametrize("value", [5, [], [5], {"aes256": KEY}, KEY.encode(), [AES, None]])
    def test_what_is_no_text_is_refused(self, store: MemoryClaimStore, value: object) -> None:
        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_ENCRYPTION"):
            claim_check(store, value)

    @pytest.mark.parametrize("value", ["", " ", "\n"])
    def test_a_setting_that_is_empty_turns_nothing_off(
        self, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", value)

        with pytest.raises(SettingsInvalid, match="CLAIMCHECK_ENCRYPTION is set and empty"):
            claim_check_for("memory://")

    def test_queues_share_one_encryption(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that they share its data keys."""
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", AES)

        first, second = claim_check_for("memory://a"), claim_check_for("memory://b")

        assert first._trust._encryption is not None
        assert first._trust._encryption is second._trust._encryption

    def test_both_ends_by_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", AES)
        queue, seen = MemoryTransport("memory://encrypted"), list[Message[Any]]()
        worker = Worker(queue, middleware=[ClaimCheckMiddleware()])
        worker.default(seen.append)

        Client(queue).enqueue({"type": "order:new", "payload": "plain"})
        Client(queue, middleware=[ClaimCheckMiddleware()]).enqueue(
            {"type": "order:new", "payload": "encrypted"}
        )
        worker.run(burst=True)

        assert [message.payload for message in seen] == ["encrypted"]


class TestNobodySeesTheKey:
    def test_in_what_is_shown_of_settings(self, store: MemoryClaimStore) -> None:
        settings = ClaimCheckSettings.from_environment({"CLAIMCHECK_ENCRYPTION": AES})
        encryption = open_encryption([AES])
        key = encryption._keys[0].for_sealing()

        shown = [repr(settings), str(settings.model_dump()), settings.model_dump_json()]
        shown += [repr(claim_check(store)), repr(encryption), repr(key), str(key)]
        sealed = tickets.read(
            claim_check(store).seal(message_body("order:new", "x")).body.decode(),
            max_size=1_000_000,
        )
        assert sealed is not None
        assert sealed.ticket.encryption is not None
        # What a traceback shows that shows the variables of each frame.
        shown.append(repr(encryption.decryption(sealed, sealed.ticket.encryption, what="it")))
        assert_no_key_in("\n".join(shown))

    def test_in_an_error_about_settings(self) -> None:
        environment = {"CLAIMCHECK_ENCRYPTION": AES, "CLAIMCHECK_MAX_SIZE": "much"}
        with pytest.raises(SettingsInvalid) as refused:
            ClaimCheckSettings.from_environment(environment)
        assert_no_key_in("".join(traceback.format_exception(refused.value)))

    def test_in_an_error_about_a_key_that_is_no_unicode(self, store: MemoryClaimStore) -> None:
        with pytest.raises(SettingsInvalid) as refused:
            claim_check(store, f"{AES}\udcff")
        assert_no_key_in("".join(traceback.format_exception(refused.value)))

    def test_in_what_a_worker_logs(
        self, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        queue = MemoryTransport()
        sender = ClaimCheckMiddleware(claim_check(store, f"aes256:{OLD_KEY}"))
        Client(queue, middleware=[sender]).enqueue({"type": "order:new", "payload": SECRET})
        worker = Worker(queue, middleware=[ClaimCheckMiddleware(claim_check(store))])
        worker.default(lambda message: None)

        worker.run(burst=True)

        assert "it is encrypted with the key aes256:" in caplog.text
        assert_no_key_in(caplog.text)
        assert SECRET not in caplog.text


def assert_no_key_in(text: str) -> None:
    for key in (KEY, OLD_KEY, STRANGE_KEY):
        assert key not in text
        assert key[:-4] not in text
        assert repr(b64decode(key))[2:-1] not in text


def loaded_by(program: str) -> set[str]:
    """The modules that a new process has loaded in the end."""
    shown = f"{program}\nimport sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60
    )
    return {*ran.stdout.split()}


def test_where_it_is_off_nothing_is_loaded_for_it() -> None:
    loaded = loaded_by(
        "from claimcheck import ClaimCheck, open_store\n"
        "check = ClaimCheck(open_store('memory://'))\n"
        "check.open(check.seal('x' * 300_000).body.decode())"
    )

    assert "claimcheck.core.claim_check" in loaded
    assert {"cryptography", "boto3", "claimcheck.core.kms"} & loaded == set()


def test_with_keys_of_ones_own_no_client_of_aws_is_loaded() -> None:
    loaded = loaded_by(f"from claimcheck import open_encryption\nopen_encryption('{AES}')")

    assert "cryptography" in loaded
    assert {"boto3", "botocore", "claimcheck.core.kms"} & loaded == set()


def test_without_the_package_it_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['cryptography'] = None\n")
    program = "from claimcheck import *\nopen_encryption('aes256:')"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"},
    )

    assert "SettingsInvalid" in ran.stderr
    assert "needs cryptography: pip install 'letsgo-claimcheck[encryption]'" in ran.stderr
