"""Make Kafka clients, each with its limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.topics import DEAD_LETTER_BYTES_MAX
from services.errors import StackUnavailable
from services.kafka.refusals import why_not
from services.runtime.brokers import Brokers

REQUEST_TIMEOUT_MS: Final = 15_000
# aiokafka goes on for ever where a broker that it knows is gone; past this the connection is made anew.
EXCHANGE_TIMEOUT_S: Final = 30.0
SESSION_TIMEOUT_MS: Final = 15_000
HEARTBEAT_INTERVAL_MS: Final = 3_000
REBALANCE_TIMEOUT_MS: Final = 30_000
MAX_POLL_INTERVAL_MS: Final = 300_000
# A worker's memory stays the same however long the backlog is: this much is fetched ahead of it.
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
PARTITION_FETCH_BYTES_MAX: Final = 512 * 1024
_START_PAUSE_S: Final = 0.2
BATCH_BYTES_MAX: Final = 512 * 1024


def producer(brokers: Brokers | str) -> AIOKafkaProducer:
    """An idempotent producer: what is acknowledged is on all replicas, once, in order."""
    return AIOKafkaProducer(
        **Brokers.of(brokers).client_options(),
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=DEAD_LETTER_BYTES_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


def consumer(brokers: Brokers | str, group_id: str) -> AIOKafkaConsumer:
    """A member of a group that commits nothing by itself and begins with the oldest record."""
    return AIOKafkaConsumer(
        **Brokers.of(brokers).client_options(),
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
        # TCP has its own checksum, and the broker has checked the record's when it took it.
        check_crcs=False,
    )


@asynccontextmanager
async def admin(brokers: Brokers | str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for one command. Raises StackUnavailable, in words for a person."""
    client = AIOKafkaAdminClient(**Brokers.of(brokers).client_options(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.start()
        yield client
    except (KafkaError, TimeoutError) as error:
        raise await why_not(brokers) from error
    finally:
        await client.close()


@asynccontextmanager
async def started_producer(brokers: Brokers | str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for one command. Raises StackUnavailable, in words for a person."""
    client = producer(brokers)
    try:
        await asyncio.wait_for(client.start(), EXCHANGE_TIMEOUT_S)
    except (KafkaError, TimeoutError) as error:
        await asyncio.shield(client.stop())
        raise await why_not(brokers) from error
    try:
        yield client
    finally:
        await asyncio.shield(client.stop())


async def wait_until_up(brokers: Brokers | str, topics: Iterable[str], timeout_s: float) -> None:
    """Wait until Kafka answers and has the topics, or raise StackUnavailable; NotTrusted at once."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await _check(brokers, topics)
        except StackUnavailable as error:
            if not error.retriable or time.monotonic() + _START_PAUSE_S > deadline:
                raise
        await asyncio.sleep(_START_PAUSE_S)


async def _check(brokers: Brokers | str, topics: Iterable[str]) -> None:
    async with admin(brokers) as client:
        missing = sorted(set(topics) - set(await client.list_topics()))
    if missing:
        raise StackUnavailable(f"Kafka has no topic {missing[0]}: run codewell topics, or make it.")
