"""What the stream does where its topic has lost its records, or is another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from codewell.infra.kafka.clients import reader, wait_until_up
from codewell.issuing.claim import Claims
from schemas import lifecycle, topics
from services.lifecycle.main import drop_slot
from tests.support.fixtures import PARTITIONS
from tests.support.running import until
from tests.support.site import Site
from tests.support.stream_worker import attach, caught_up, header, records, sequences, until_ready, worker


@asynccontextmanager
async def admin_of(site: Site) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def first_of(site: Site, topic: str, number: int) -> ConsumerRecord:
    """The first record that a partition has."""
    consumer = reader(site.bootstrap, from_start=True)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number)])
        return await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()


async def published(site: Site, claims_of: Claims) -> str:
    """The stream's topic, to which a worker has published what a program and its requests did."""
    await site.program("SPRING", 60)
    async with worker(site):
        await until_ready(site)
        await attach(claims_of, 5)
        await caught_up(site)
    return site.prefix + topics.CODE_LIFECYCLE


async def test_an_epoch_after_the_retention_of_all_records_is_above_those_before(site: Site, claims_of: Claims) -> None:
    """Readers take no event that is not above the last one that they have seen."""
    topic = await published(site, claims_of)
    seen = [sequences(some)[-1] for some in await records(site)]
    assert await drop_slot(site.postgres_url)
    async with admin_of(site) as admin:
        await admin.delete_records({
            TopicPartition(topic, number): RecordsToDelete(before_offset=-1) for number in range(PARTITIONS)
        })  # fmt: skip
    async with worker(site):
        await until_ready(site)
    for number, last in enumerate(seen):
        assert header(await first_of(site, topic, number), "ce_sequence") > last


async def test_a_topic_that_was_made_anew_begins_with_an_epoch(site: Site, claims_of: Claims) -> None:
    topic = await published(site, claims_of)
    async with admin_of(site) as admin:
        await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await admin.list_topics()

        await until(is_gone, "deleted topic")
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await wait_until_up(site.bootstrap, [topic], 20)
    async with worker(site):
        await attach(claims_of, 5, first=20)
        await caught_up(site)
    for number in range(PARTITIONS):
        first = await first_of(site, topic, number)
        assert header(first, "ce_type") == lifecycle.EPOCH_STARTED
        assert first.value == b'{"epoch":2,"reason":"switched_on"}'
