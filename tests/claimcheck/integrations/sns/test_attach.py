"""A boto3 client of SNS with the claim check: how it gets that, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from aiobotocore.session import get_session
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, ParamValidationError

from claimcheck import (
    ClaimCheck,
    ClaimStoreUnavailable,
    SettingsInvalid,
)
from claimcheck.integrations.sns import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations.sns.topics import LARGE, bodies_on, requests_of, subscribed
from tests.claimcheck.support import ticket_in
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class _Raw:
    """A body as urllib3 has it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._body


class TestFailures:
    def test_the_claim_of_a_message_that_is_refused_is_removed(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(sns.exceptions.NotFoundException):
            sns.publish(TopicArn=topic + "-gone", Message=LARGE)
        assert not store._contents

    @pytest.mark.parametrize(
        "wrong", [{"MessageAttributes": {"a": 1}}, {"MessageAttributes": 1}, {"Odd": 1}]
    )
    def test_parameters_that_botocore_refuses_store_nothing(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, wrong: Any
    ) -> None:
        with pytest.raises(ParamValidationError):
            sns.publish(TopicArn=topic, Message=LARGE, **wrong)
        assert not store._contents

    @pytest.mark.parametrize(
        "wrong", [{"Message": 1}, {"Message": ""}, {"Message": None}, {"TopicArn": "no ARN"}]
    )
    def test_what_cannot_be_sealed_is_left_to_sns(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, wrong: Any
    ) -> None:
        with pytest.raises((ParamValidationError, ClientError)):
            sns.publish(**{"TopicArn": topic + "-gone", "Message": LARGE, **wrong})
        assert not store._contents

    def test_one_that_may_have_been_published_keeps_its_claim(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        statuses = iter([500, 404])

        def answer(request: Any, **_: object) -> Any:
            body = b"<ErrorResponse><Error><Code>No</Code></Error></ErrorResponse>"
            return AWSResponse(request.url, next(statuses), HTTPHeaders(), _Raw(body))

        sns.meta.events.register("before-send.sns.Publish", answer)
        with pytest.raises(ClientError):
            sns.publish(TopicArn=topic, Message=LARGE)

        assert len(store._contents) == 1

    def test_a_store_that_is_down_fails_the_call(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests = requests_of(sns, "Publish")

        def fail(*_: object) -> None:
            raise ClaimStoreUnavailable("the store does not answer")

        monkeypatch.setattr(store, "write", fail)
        with pytest.raises(ClaimStoreUnavailable):
            sns.publish(TopicArn=topic, Message=LARGE)
        assert not requests


class TestAttach:
    def test_twice_is_once(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        queue = subscribed(ministack, topic)
        other = MemoryClaimStore()

        assert attach(sns, ClaimCheck(other)) is sns
        sns.publish(TopicArn=topic, Message=LARGE)

        (body,) = bodies_on(ministack, queue)
        assert [*other._contents] == [ticket_in(body)["id"]]
        assert not check.store._contents  # type: ignore[attr-defined]  # it is in memory

    def test_by_the_environment(
        self, ministack: AwsServer, topic: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/claims.db")
        queue = subscribed(ministack, topic)
        sns = attach(ministack.sns())

        sns.publish(TopicArn=topic, Message=LARGE)
        sns.close()

        assert [*map(is_sealed, bodies_on(ministack, queue))] == [True]

    @pytest.mark.parametrize(
        ("client", "said"),
        [
            (lambda aws: aws.sqs(), r"got a client of SQS.*claimcheck\.integrations\.boto3"),
            (lambda aws: boto3.resource("sns", aws.region), "got sns.ServiceResource"),
            (lambda aws: "sns", "got str"),
            (lambda aws: None, "got NoneType"),
        ],
    )
    def test_anything_else_is_refused(
        self, ministack: AwsServer, client: Callable[[AwsServer], Any], said: str
    ) -> None:
        with pytest.raises(SettingsInvalid, match=said):
            attach(client(ministack))

    def test_a_client_for_asyncio_is_refused(self, ministack: AwsServer) -> None:
        async def attach_one() -> None:
            async with get_session().create_client("sns", region_name=ministack.region) as client:
                attach(client)

        with pytest.raises(SettingsInvalid, match="got one of aiobotocore"):
            asyncio.run(attach_one())
