"""Clusters of servers under load: Kafka with three brokers, Postgres with three nodes under Patroni."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from codewell.infra.kafka.clients import reader, started_producer
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.topics import create_topics
from torture.brokers import COUNT, cluster, rack_of
from torture.kinds import BROKER_KINDS, PATRONI_KINDS
from torture.patroni import missing
from torture.schedule import Plan
from torture.site import PREFIX
from torture.tests.test_faults import injected, new_seed

TOPIC = f"{PREFIX}orders"
TOPIC_PARTITIONS = 24
READ_LIMIT_S = 60.0

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"),
]


async def test_no_answer_is_lost_while_brokers_die_freeze_and_fill_their_disk(tmp_path: Path) -> None:
    plan = Plan(new_seed(), requests=2_000, rate_per_s=200, what="once")
    outcome = await injected(plan, BROKER_KINDS, tmp_path, "three brokers")
    assert outcome.published >= plan.requests


async def test_no_answer_is_lost_while_patroni_fails_over(tmp_path: Path) -> None:
    if why_not := missing():
        pytest.skip(why_not)
    plan = Plan(new_seed(), requests=2_000, rate_per_s=200, what="once")
    outcome = await injected(plan, PATRONI_KINDS, tmp_path, "Patroni")
    assert outcome.failovers == 3


async def test_records_are_read_from_the_replica_in_the_reader_s_rack_and_from_the_leader_once_it_is_gone(
    tmp_path: Path,
) -> None:
    async with cluster([tmp_path / f"kafka-{number}" for number in range(1, COUNT + 1)]) as brokers:
        await create_topics(brokers.bootstrap, PREFIX)
        async with started_producer(brokers.bootstrap) as producer:
            for partition in range(TOPIC_PARTITIONS):
                await producer.send_and_wait(TOPIC, b"{}", partition=partition)
            consumer = reader(KafkaConfig(brokers.bootstrap, rack=rack_of(2)), from_start=True)
            await consumer.start()
            try:
                consumer.assign([TopicPartition(TOPIC, partition) for partition in range(TOPIC_PARTITIONS)])
                assert await read(consumer) == TOPIC_PARTITIONS
                # Those that broker 2 leads itself have no other replica to prefer.
                preferred = {node for node, _ in consumer._fetcher._preferred_read_replica.values()}
                assert preferred == {2}
                await brokers.end(2, signal.SIGKILL)
                for partition in range(TOPIC_PARTITIONS):
                    await producer.send_and_wait(TOPIC, b"{}", partition=partition)
                assert await read(consumer) == TOPIC_PARTITIONS
            finally:
                await consumer.stop()


async def read(consumer: AIOKafkaConsumer) -> int:
    """Read as many records as there are partitions."""
    count = 0
    async with asyncio.timeout(READ_LIMIT_S):
        while count < TOPIC_PARTITIONS:
            count += sum(map(len, (await consumer.getmany(timeout_ms=500)).values()))
    return count
