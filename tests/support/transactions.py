"""Senders that write in Kafka transactions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from codewell.client.exchange import OutgoingRequest
from tests.support.site import Site


@asynccontextmanager
async def transactional_producer(site: Site) -> AsyncIterator[AIOKafkaProducer]:
    """A producer with a transactional id of its own; the test begins, commits and aborts."""
    producer = AIOKafkaProducer(bootstrap_servers=site.bootstrap, transactional_id=f"{site.prefix}{uuid4().hex[:6]}")
    async with producer:
        yield producer


async def write(site: Site, producer: AIOKafkaProducer, requests: Sequence[OutgoingRequest], partition: int) -> None:
    """Write requests in the current transaction, and wait until the broker has them."""
    for one in requests:
        await producer.send_and_wait(
            site.prefix + one.topic, one.value, key=one.key, headers=one.headers, partition=partition
        )
