"""Data keys of KMS: how many calls they cost, and what becomes of a call that fails."""

from __future__ import annotations

import logging
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import boto3
import pytest

from claimcheck import (
    ClaimCheck,
    ClaimStore,
    Encryption,
    EncryptionKeyRefused,
    EncryptionKeyUnavailable,
    EncryptionKeyUnknown,
    open_encryption,
)
from claimcheck.core import kms
from claimcheck.core.kms import CONTEXT, KmsKey
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.support import (
    claim_record,
    forge,
    message_body,
    noisy_body,
    small_claim_check,
    ticket_in,
)
from tests.support.faulty_server import Failure, FaultyServer
from tests.support.forks import fork
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

SMALL = message_body("order:new", "small")
STORED = noisy_body(6_000)


class Kms:
    """KMS behind a wire that counts what it is asked."""

    def __init__(self, aws: AwsServer, server: FaultyServer) -> None:
        self.aws = aws
        self.server = server
        self.key = aws.make_kms_key()
        self.clock = Clock()

    def encryption(self, *keys: str) -> Encryption:
        """One of a process of its own, as it were."""
        return Encryption([KmsKey(key, clock=self.clock) for key in keys or (self.key,)])

    def check(self, store: ClaimStore, *keys: str) -> ClaimCheck:
        return small_claim_check(store, encryption=self.encryption(*keys))

    def calls(self) -> dict[str, int]:
        """The calls since this was asked last."""
        counted = Counter(self.server.operations)
        self.server.operations.clear()
        return dict(counted)


@pytest.fixture
def there(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    if aws.endpoint_url is None:
        pytest.skip("what AWS is asked cannot be counted")
    with FaultyServer(aws.endpoint_url) as server:
        there = Kms(aws, server)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield there


class TestCalls:
    def test_many_messages_cost_one_data_key(self, there: Kms, store: MemoryClaimStore) -> None:
        sender, reader = there.check(store), there.check(store)
        bodies = [SMALL, STORED] * 10

        sealed = [sender.seal(body).body.decode() for body in bodies]

        assert there.calls() == {"GenerateDataKey": 1}
        assert len({ticket_in(each)["encryption"]["key"] for each in sealed}) == 1
        assert [reader.open(each).body for each in sealed] == bodies
        assert there.calls() == {"Decrypt": 1}
        assert reader.opened_size(sealed[1]) == len(STORED)
        assert sender.open(sealed[2]).body == SMALL
        assert there.calls() == {}, "who made a key knows it"

    def test_threads_that_want_one_at_once_share_a_call(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        there.server.inject(Failure.SLOW, on="kms")
        sender, reader = there.check(store), there.check(store)
        with ThreadPoolExecutor(8) as pool:
            sealed = [*pool.map(lambda _: sender.seal(SMALL).body.decode(), range(16))]
            opened = [*pool.map(lambda each: reader.open(each).body, sealed)]

        assert opened == [SMALL] * 16
        assert there.calls() == {"GenerateDataKey": 1, "Decrypt": 1}

    def test_a_data_key_encrypts_for_some_minutes(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        sender, reader = there.check(store), there.check(store)
        sealed = []
        for _ in range(3):
            sealed += [sender.seal(SMALL).body.decode() for _ in range(2)]
            there.clock.advance(kms.REUSE_MINUTES * 60)

        assert there.calls() == {"GenerateDataKey": 3}
        assert {reader.open(each).body for each in sealed} == {SMALL}
        assert there.calls() == {"Decrypt": 3}
        there.clock.advance(kms.KEPT_SECONDS)
        reader.open(sealed[0])
        assert there.calls() == {"Decrypt": 1}, "nor is it kept for good"

    def test_a_data_key_encrypts_so_many_messages(
        self, there: Kms, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms, "REUSE_MESSAGES", 4)
        sender = there.check(store)

        for _ in range(9):
            sender.seal(SMALL)

        assert there.calls() == {"GenerateDataKey": 3}

    def test_a_reader_keeps_so_many_keys(
        self, there: Kms, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kms, "KEPT_KEYS", 2)
        sealed = [there.check(store).seal(SMALL).body.decode() for _ in range(3)]
        reader = there.check(store)
        there.calls()

        for each in (0, 1, 0, 2, 0, 1):  # 1 is the key that was not used for longest
            reader.open(sealed[each])

        assert there.calls() == {"Decrypt": 4}

    def test_a_forked_process_asks_for_its_own(self, there: Kms, store: MemoryClaimStore) -> None:
        sender = there.check(store)
        sealed = sender.seal(SMALL).body.decode()

        (child,) = fork(lambda _: ticket_in(sender.seal(SMALL).body)["encryption"]["key"], count=1)

        assert child.result() != ticket_in(sealed)["encryption"]["key"]
        assert there.calls() == {"GenerateDataKey": 2}

    def test_no_connection_is_left_open(self, there: Kms, store: MemoryClaimStore) -> None:
        """The next call is minutes away, and nobody closes an encryption."""
        check = there.check(store)
        check.open(check.seal(SMALL).body.decode())

        wait_for(lambda: not there.server.open_connections, "the connection to go")
        assert there.server.connections == 1


class TestKeys:
    def test_an_alias_an_id_and_an_arn_name_a_key(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        client = there.aws.kms()
        alias = f"alias/{there.key.rpartition('/')[2]}"
        client.create_alias(AliasName=alias, TargetKeyId=there.key)
        client.close()
        sealed = there.check(store).seal(SMALL).body.decode()

        for name in (alias, there.key, there.key.rpartition("/")[2]):
            check = small_claim_check(store, encryption=f"kms://{name}?reuse_minutes=5")
            assert check.open(sealed).body == SMALL

    def test_keys_of_ones_own_and_of_kms_change_step_by_step(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        own = "aes256:" + b64encode(bytes(32)).decode()
        theirs = f"kms://{there.key}"
        steps = [own, f"{own},{theirs}", f"{theirs},{own}", theirs]
        checks = [small_claim_check(store, encryption=each) for each in steps]
        for before, after in pairwise(checks):
            for sender, reader in ((before, after), (after, before)):
                assert reader.open(sender.seal(STORED).body.decode()).body == STORED
        with pytest.raises(EncryptionKeyUnknown, match="a key of KMS, which is not among"):
            checks[0].open(checks[-1].seal(SMALL).body.decode())

    @pytest.mark.parametrize("code", ["IncorrectKeyException", "AccessDeniedException"])
    def test_an_old_key_of_kms_decrypts(
        self, there: Kms, store: MemoryClaimStore, code: str
    ) -> None:
        """KMS says that the key is another, or refuses it; MiniStack and moto do not look."""
        sealed = there.check(store).seal(STORED).body.decode()
        other = there.aws.make_kms_key()
        wrong_key = there.server.refuse("Decrypt", code, times=1)

        assert there.check(store, other, there.key).open(sealed).body == STORED
        assert wrong_key.happened == 1

    def test_a_key_of_another_is_unknown(self, there: Kms, store: MemoryClaimStore) -> None:
        sealed = there.check(store).seal(STORED).body.decode()
        there.server.refuse("Decrypt", "IncorrectKeyException")

        with pytest.raises(EncryptionKeyUnknown, match=r"message m-1 of type 'order:new': .*KMS"):
            there.check(store, there.aws.make_kms_key()).open(sealed, message_id="m-1")
        assert claim_record(store, sealed) is None

    @pytest.mark.parametrize("key", ["AAAA", "AAAAA"])
    def test_a_key_that_nobody_wrapped_is_unknown(
        self, there: Kms, store: MemoryClaimStore, key: str
    ) -> None:
        sealed = there.check(store).seal(SMALL).body.decode()
        encryption = {**ticket_in(sealed)["encryption"], "key": f"kms:{key}"}
        there.calls()
        reader = there.check(store)

        for _ in range(3):
            with pytest.raises(EncryptionKeyUnknown):
                reader.open(forge(sealed, encryption=encryption))
        assert there.calls().get("Decrypt", 0) <= 1, "each would cost a call"

    def test_what_another_application_encrypted_is_no_data_key(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        """Else a ticket could have a reader decrypt it."""
        client = there.aws.kms()
        theirs = client.generate_data_key(KeyId=there.key, KeySpec="AES_256")
        client.close()
        wrapped = b64encode(theirs["CiphertextBlob"]).decode()
        sealed = there.check(store).seal(SMALL).body.decode()
        encryption = {**ticket_in(sealed)["encryption"], "key": f"kms:{wrapped}"}

        with pytest.raises(EncryptionKeyUnknown):
            there.check(store).open(forge(sealed, encryption=encryption))

    def test_kms_is_asked_with_the_key_of_the_settings(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        """A ticket cannot have a reader use a key of somebody else's."""
        asked: list[dict[str, Any]] = []

        def note(request: dict[str, Any]) -> bool:
            asked.append(request)
            return False

        there.server.inject(Failure.DENIED, on="kms", matches=note)
        sender, reader = there.check(store), there.check(store)
        reader.open(sender.seal(SMALL).body.decode())

        assert [request["KeyId"] for request in asked] == [there.key] * 2
        assert [request["EncryptionContext"] for request in asked] == [CONTEXT] * 2

    @pytest.mark.parametrize("in_url", [True, False])
    def test_the_session_and_the_region_of_a_caller_are_used(
        self,
        there: Kms,
        store: MemoryClaimStore,
        monkeypatch: pytest.MonkeyPatch,
        in_url: bool,
    ) -> None:
        session = boto3.Session("akid", "secret", region_name="eu-central-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        name = there.key.rpartition("/")[2]
        region = "us-west-2"
        encryption = (
            open_encryption(f"kms://{name}?region={region}", session=session)
            if in_url
            else open_encryption(f"kms://{name}", region=region, session=session)
        )

        small_claim_check(store, encryption=encryption).seal(SMALL)

        assert there.calls() == {"GenerateDataKey": 1}


class TestFailures:
    @pytest.mark.parametrize(
        "failure",
        [Failure.THROTTLED, Failure.SERVER_ERROR, Failure.REQUEST_LOST],
    )
    @pytest.mark.parametrize("on", ["GenerateDataKey", "Decrypt"])
    def test_what_passes_is_tried_again_and_goes_unnoticed(
        self, there: Kms, store: MemoryClaimStore, failure: Failure, on: str
    ) -> None:
        there.server.inject(failure, on=on, times=1)

        sealed = there.check(store).seal(STORED).body.decode()

        assert there.check(store).open(sealed).body == STORED
        assert there.server.failed[on, failure] == 1

    @pytest.mark.parametrize(
        "failure", ["KMSInternalException", Failure.REQUEST_LOST, Failure.ANSWER_CUT]
    )
    def test_what_lasts_is_an_error_that_passes(
        self, there: Kms, store: MemoryClaimStore, failure: str
    ) -> None:
        sealed = there.check(store).seal(STORED).body.decode()
        sender, reader = there.check(store), there.check(store)
        if isinstance(failure, Failure):
            there.server.inject(failure, on="kms")
        else:
            there.server.refuse("GenerateDataKey", failure)
            there.server.refuse("Decrypt", failure)

        with pytest.raises(EncryptionKeyUnavailable) as at_sending:
            sender.seal(STORED)
        with pytest.raises(EncryptionKeyUnavailable) as at_opening:
            reader.open(sealed, message_id="m-1")

        for error in (at_sending.value, at_opening.value):
            assert error.retryable
            assert error.patience == 900
            assert "order:new" in str(error)
            assert there.key in str(error)
            assert "\n" not in str(error)
        assert "message m-1" in str(at_opening.value)
        assert claim_record(store, sealed) is None
        there.server.faults.clear()
        assert reader.open(sender.seal(STORED).body.decode()).body == STORED, "it is over"
        assert reader.open(sealed).body == STORED

    @pytest.mark.parametrize(
        "code", ["AccessDeniedException", "DisabledException", "NotFoundException"]
    )
    def test_what_kms_refuses_says_why(
        self, there: Kms, store: MemoryClaimStore, code: str
    ) -> None:
        sealed = there.check(store).seal(STORED).body.decode()
        there.server.refuse("GenerateDataKey", code)
        there.server.refuse("Decrypt", code)

        for work in (
            lambda: there.check(store).seal(STORED),
            lambda: there.check(store).open(sealed),
        ):
            with pytest.raises(EncryptionKeyRefused, match=code) as refused:
                work()
            assert not refused.value.retryable
            assert refused.value.patience == 900, "a worker holds what it cannot open"

    def test_threads_that_wait_for_a_call_fail_with_it(
        self, there: Kms, store: MemoryClaimStore
    ) -> None:
        """One after the other they would wait for the timeouts of all before them."""
        asking, go_on = threading.Event(), threading.Event()

        def ask(_: object) -> bool:
            asking.set()
            return go_on.wait(20)

        there.server.inject(Failure.DENIED, on="GenerateDataKey", matches=ask)
        sender = there.check(store)
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(sender.seal, SMALL)
            assert asking.wait(20)
            others = [pool.submit(sender.seal, SMALL) for _ in range(3)]
            kept = sender._trust._encryption._keys[0]._process.get().sealing._kept[""]  # type: ignore[union-attr]  # how many wait
            wait_for(lambda: kept.uses_left <= kms.REUSE_MESSAGES - 4, "all to wait")
            go_on.set()
            for each in (first, *others):
                with pytest.raises(EncryptionKeyRefused):
                    each.result(20)

        assert there.calls() == {"GenerateDataKey": 1}


def test_nobody_sees_a_data_key(
    there: Kms, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture
) -> None:
    """botocore logs the answers of AWS on its debug level."""
    caplog.set_level(logging.DEBUG)
    sender, reader = there.check(store), there.check(store)
    sealed = sender.seal(SMALL).body.decode()
    reader.open(sealed)
    assert sender._trust._encryption is not None
    key = sender._trust._encryption._keys[0].for_sealing()
    assert "GenerateDataKey" in caplog.text
    assert "Decrypt" in caplog.text

    for text in (caplog.text, repr(key), repr(sender), sealed):
        assert b64encode(key.secret).decode() not in text
        assert repr(key.secret)[2:-1] not in text
    client = there.aws.dynamodb()
    client.list_tables()
    client.close()
    assert "TableNames" in caplog.text, "what others ask is logged as before"
