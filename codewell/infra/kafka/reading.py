"""Reads topics up to a fixed end offset, for commands that end at the last record."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from codewell.errors import StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.kafka.diagnose import connect_error
from codewell.infra.kafka.partition_records import FaultyRecord

_POLL_MS: Final = 500
_RECORDS_MAX: Final = 1_000


class OffsetRange(NamedTuple):
    """Records of a partition from offset `start`, inclusive, to `end`, exclusive."""

    start: int
    end: int


async def partitions(kafka_config: KafkaConfig | str, names: Collection[str]) -> list[TopicPartition]:
    """All partitions of these topics. Raises StackUnavailable if Kafka is unavailable or a topic is missing."""
    async with clients.admin(kafka_config) as admin:
        described = await admin.describe_topics(list(names))
    counts = {one["topic"]: len(one["partitions"]) for one in described if one["error_code"] == 0}
    missing = sorted(set(names) - counts.keys())
    if missing:
        raise StackUnavailable(f"Kafka has no topic {missing[0]}: run codewell topics.")
    return [TopicPartition(name, number) for name in names for number in range(counts[name])]


class TopicReader:
    """Reads the records that partitions contain now."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def end_offsets(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after the last record of each partition. Raises StackUnavailable."""
        # Else aiokafka learns of one topic after the other, and pauses before each.
        new = [self._consumer._client.add_topic(name) for name in {tp.topic for tp in wanted}]
        try:
            await asyncio.wait_for(asyncio.gather(*new), clients.EXCHANGE_TIMEOUT_S)
            return dict(await self._consumer.end_offsets(list(wanted)))
        except (KafkaError, TimeoutError) as error:
            raise _read_error(next(iter(wanted)), error) from error

    async def offset_ranges(
        self, wanted: Collection[TopicPartition], since: datetime | None = None
    ) -> dict[TopicPartition, OffsetRange]:
        """The offsets of each partition's current records, or of those written since then. Raises StackUnavailable."""
        end_offsets = await self.end_offsets(wanted)
        try:
            starts = await self._consumer.beginning_offsets(list(wanted))
            if since is not None:
                moment = int(since.timestamp() * 1000)
                found = await self._consumer.offsets_for_times(dict.fromkeys(wanted, moment))
                starts = {tp: end_offsets[tp] if at is None else at.offset for tp, at in found.items()}
        except (KafkaError, TimeoutError) as error:
            raise _read_error(next(iter(wanted)), error) from error
        return {tp: OffsetRange(starts[tp], end_offsets[tp]) for tp in wanted}

    async def records(self, tp: TopicPartition, span: OffsetRange) -> AsyncGenerator[ConsumerRecord]:
        """Yield the records of a span in order; skips faulty ones. Raises StackUnavailable."""
        consumer = self._consumer
        consumer.assign([tp])
        consumer.seek(tp, span.start)
        moved_at = time.monotonic()
        try:
            while (position := await asyncio.wait_for(consumer.position(tp), clients.EXCHANGE_TIMEOUT_S)) < span.end:
                fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=_RECORDS_MAX)
                if await consumer.position(tp) > position:
                    # Without records too: at a transaction's marker, and past records that were aborted.
                    moved_at = time.monotonic()
                _check_progress(moved_at)
                for record in fetched.get(tp, []):
                    if span.start <= record.offset < span.end and not isinstance(record, FaultyRecord):
                        yield record
                if fetched:
                    moved_at = time.monotonic()
        except (KafkaError, TimeoutError) as error:
            raise _read_error(tp, error) from error


@asynccontextmanager
async def open_reader(kafka_config: KafkaConfig | str) -> AsyncIterator[TopicReader]:
    """A reader for one command. Raises StackUnavailable if Kafka is unavailable."""
    # Its offset reset loses no record, should it override a seek.
    consumer = clients.reader(kafka_config, from_start=True)
    try:
        try:
            await asyncio.wait_for(consumer.start(), clients.EXCHANGE_TIMEOUT_S)
        except (KafkaError, TimeoutError) as error:
            raise await connect_error(kafka_config) from error
        yield TopicReader(consumer)
    finally:
        await clients.stop(consumer)


def _check_progress(since: float) -> None:
    """Raise TimeoutError if `since` is too long ago: aiokafka retries an absent broker for ever, silently."""
    if time.monotonic() - since > clients.EXCHANGE_TIMEOUT_S:
        raise TimeoutError


def _read_error(tp: TopicPartition, error: Exception) -> StackUnavailable:
    return StackUnavailable(f"Kafka did not return the records of {tp.topic} ({error!r}): try again.")
