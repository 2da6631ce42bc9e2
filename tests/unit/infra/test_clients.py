"""Readers with a rack, producers that end before they have begun, and rights that an admin client lacks."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError

from codewell.errors import StackUnavailable
from codewell.infra.kafka.clients import RACK_REPLICA_MS, admin, consumer, reader, started_producer
from codewell.infra.kafka.config import KafkaConfig


@pytest.mark.parametrize("of_group", [True, False])
async def test_a_reader_leaves_a_replica_that_lags_behind_before_its_requests_are_late(of_group: bool) -> None:
    """It asks the leader again where to read once its metadata is old, by default after five minutes."""
    config = KafkaConfig("broker:9092", rack="north")
    with_rack = consumer(config, "group") if of_group else reader(config, from_start=True)
    assert with_rack._client_rack == "north"
    assert with_rack._client._metadata_max_age_ms == RACK_REPLICA_MS < 60_000
    without = reader(KafkaConfig("broker:9092"), from_start=True)
    assert not without._client_rack
    assert without._client._metadata_max_age_ms > RACK_REPLICA_MS
    for one in (with_rack, without):
        await one.stop()


async def test_a_producer_whose_start_is_cancelled_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, made = asyncio.Event(), list[AIOKafkaProducer]()

    async def start(client: AIOKafkaProducer) -> None:
        made.append(client)
        starting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(AIOKafkaProducer, "start", start)

    async def use() -> None:
        async with started_producer("broker:9092"):
            raise AssertionError("it never starts")

    using = asyncio.create_task(use())
    await starting.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    [client] = made
    assert client._closed


async def test_a_right_that_is_missing_is_no_broker_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(_: AIOKafkaAdminClient) -> None:
        pass

    monkeypatch.setattr(AIOKafkaAdminClient, "start", start)
    with pytest.raises(StackUnavailable, match=r"Kafka refused the command .*codewell topics --acls"):
        async with admin("broker:9092"):
            raise TopicAuthorizationFailedError("message-render.dlq")
