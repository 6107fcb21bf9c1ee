"""The receipt handles of attached clients, which carry what settles a claim."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from claimcheck import (
    ClaimCheck,
    SettingsInvalid,
    TicketForged,
    TicketInvalid,
    open_store,
)
from claimcheck.core.notes import HoldNote
from claimcheck.integrations.boto3 import attach
from claimcheck.integrations.receipt_handles import ClaimHandle, read_handle
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.integrations.attached.messages import (
    LARGE,
    receive,
    records,
    waiting,
)
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class TestAHandle:
    @pytest.mark.parametrize(
        "own", ["AQEB+/==", "-..s3BucketName..-", "claimcheck-1-", '|:\n\0 "é🐘', "x" * 4_000]
    )
    def test_may_have_any_character(self, own: str) -> None:
        note = HoldNote(store="memory://a", key="c@q", lease="l" * 24, bucket="b", object="é|/-")
        handle = ClaimHandle(handle=own, hold=note)
        assert str(handle).isascii()
        assert read_handle(str(handle)) == handle

    def test_that_was_cut_is_refused_and_nothing_is_deleted(
        self, sqs: SQSClient, queue: str
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(sqs, queue)
        for cut in (message["ReceiptHandle"][:-9], "claimcheck-1-", "claimcheck-1-" + "e" * 99_999):
            with pytest.raises(TicketInvalid, match="cut or changed"):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=cut)
        assert waiting(sqs, queue) == (0, 1)

    def test_in_a_batch_is_refused_before_any_claim_is_settled(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(sqs, queue)
        handles = [message["ReceiptHandle"], message["ReceiptHandle"][:-9]]
        entries: Any = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(handles)]
        with pytest.raises(TicketInvalid, match="cut or changed"):
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        assert records(store) == ["leased"]

    def test_of_another_store_is_refused_with_both_names(
        self, sqs: SQSClient, ministack: AwsServer, queue: str
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(sqs, queue)
        stranger = attach(ministack.sqs(), ClaimCheck(open_store("dynamodb://elsewhere")))
        with pytest.raises(SettingsInvalid, match=r"memory://.*dynamodb://elsewhere"):
            stranger.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert waiting(sqs, queue) == (0, 1)
        stranger.close()

    def test_is_signed_where_there_is_a_key(
        self, ministack: AwsServer, queue: str, store: MemoryClaimStore
    ) -> None:
        old, new = "k" * 16, "n" * 16
        signing = attach(ministack.sqs(), ClaimCheck(store, signing_key=old))
        rotated = attach(ministack.sqs(), ClaimCheck(store, signing_key=[new, old]))
        stranger = attach(ministack.sqs(), ClaimCheck(store, signing_key=new))
        signing.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(signing, queue)
        handle = read_handle(message["ReceiptHandle"])
        assert handle is not None
        for client, changes in (
            (signing, {"keep": True}),
            (signing, {"sig": None}),
            (stranger, {}),
        ):
            hold = handle.hold.model_copy(update=changes)
            changed = str(handle.model_copy(update={"hold": hold}))
            with pytest.raises(TicketForged, match="a receipt handle is not signed"):
                client.delete_message(QueueUrl=queue, ReceiptHandle=changed)
        assert (records(store), waiting(signing, queue)) == (["leased"], (0, 1))
        rotated.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert (records(store), store._contents) == (["done"], {})
        for client in (signing, rotated, stranger):
            client.close()

    def test_whose_lease_has_gone_to_another_completes_nothing(
        self, sqs: SQSClient, queue: str, store: MemoryClaimStore
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [first] = receive(sqs, queue)
        sqs.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0
        )
        [second] = receive(sqs, queue)
        with suppress(ClientError):  # MiniStack knows only the last handle of a message
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"])
        assert records(store) == ["leased"]
        assert second["Body"] == LARGE
        assert len(store._contents) > 0
