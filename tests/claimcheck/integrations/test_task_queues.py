"""What `install` does to brokers of dramatiq and taskiq, and what it refuses."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq_sqs import SQSBroker as DramatiqBroker
from taskiq_aio_sqs import SQSBroker as TaskiqBroker

from claimcheck import ClaimCheck, SettingsInvalid
from claimcheck.integrations.dramatiq import install as install_in_dramatiq
from claimcheck.integrations.taskiq import install as install_in_taskiq
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.support import noise
from tests.conftest import REGION
from tests.support.servers import AwsServer


def bodies(aws: AwsServer, queue: str) -> list[str]:
    client = aws.sqs()
    found = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    client.close()
    return [each["Body"] for each in found]


class TestDramatiq:
    @pytest.fixture
    def broker(self, ministack: AwsServer) -> Iterator[Any]:
        broker = DramatiqBroker(namespace=ministack.make_table_name(), middleware=[])
        yield broker
        broker.close()

    def send(self, broker: Any, payload: str) -> tuple[dramatiq.Message[Any], str]:
        broker.declare_queue("work")
        sent = dramatiq.Message[Any](
            queue_name="work", actor_name="take", args=(payload,), kwargs={}, options={}
        )
        broker.enqueue(sent)
        return sent, broker.queues["work"].url

    def test_gives_back_its_broker_and_the_last_one_counts(
        self, broker: Any, check: ClaimCheck, store: MemoryClaimStore, ministack: AwsServer
    ) -> None:
        first = install_in_dramatiq(broker, ClaimCheck(MemoryClaimStore()))
        assert install_in_dramatiq(first, check) is broker
        _, queue = self.send(broker, noise(2_000_000))
        [body] = bodies(ministack, queue)
        assert is_sealed(body)
        assert len(store._contents) == 1

    def test_small_messages_travel_byte_for_byte(
        self, broker: Any, check: ClaimCheck, ministack: AwsServer
    ) -> None:
        sent, queue = self.send(install_in_dramatiq(broker, check), "small")
        [body] = bodies(ministack, queue)
        assert b64decode(body) == sent.encode()

    def test_a_wrong_setting_shows_before_the_first_message(
        self, broker: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORE", "nowhere://claims")
        install_in_dramatiq(broker).declare_queue("work")
        with pytest.raises(SettingsInvalid, match="nowhere"):
            broker.consume("work")


class TestTaskiq:
    def test_gives_back_its_broker_and_the_last_one_counts(
        self, check: ClaimCheck, store: MemoryClaimStore, ministack: AwsServer
    ) -> None:
        queue = ministack.make_queue()
        broker = TaskiqBroker(queue.rpartition("/")[2], region_name=REGION)
        first = install_in_taskiq(broker, ClaimCheck(MemoryClaimStore()))
        assert install_in_taskiq(first, check) is broker

        async def send() -> None:
            await broker.startup()
            take = broker.register_task(lambda payload: None, "take")
            await take.kiq("small")
            await take.kiq(noise(2_000_000))
            await broker.shutdown()

        asyncio.run(send())
        small, large = sorted(bodies(ministack, queue), key=is_sealed)
        assert (is_sealed(small), is_sealed(large)) == (False, True)
        assert len(store._contents) == 1

    def test_one_that_was_started_is_refused(self, ministack: AwsServer) -> None:
        broker = TaskiqBroker(ministack.make_queue().rpartition("/")[2], region_name=REGION)

        async def start() -> None:
            await broker.startup()
            try:
                with pytest.raises(SettingsInvalid, match="before its startup"):
                    install_in_taskiq(broker)
            finally:
                await broker.shutdown()

        asyncio.run(start())

    def test_a_wrong_setting_shows_before_the_first_message(
        self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORE", "nowhere://claims")
        name = ministack.make_queue().rpartition("/")[2]
        broker = install_in_taskiq(TaskiqBroker(name, region_name=REGION))

        async def listen() -> None:
            await broker.startup()
            try:
                with pytest.raises(SettingsInvalid, match="nowhere"):
                    await asyncio.wait_for(anext(broker.listen()), 20)
            finally:
                await broker.shutdown()

        asyncio.run(listen())
