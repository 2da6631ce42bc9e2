"""Builds whole record batches: one call a record and one future a batch, instead of one future a record."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError
from aiokafka.structs import RecordMetadata

from codewell.infra.kafka.clients import BATCH_BYTES_MAX, EXCHANGE_TIMEOUT_S
from codewell.infra.kafka.record_encoding import RecordBatch
from codewell.infra.process.failpoints import Failpoint, reach


class TopicRefused(KafkaError):
    """A topic did not take the records: it is gone, too small for them, or may not be written to."""

    def __init__(self, topic: str, why: Exception) -> None:
        super().__init__(f"{topic}: {why!r}")
        self.topic = topic
        # The clock of this machine is an hour ahead of the broker's: another worker's records are taken.
        is_of_clock = isinstance(why, InvalidTimestampError)
        self.is_final = isinstance(why, KafkaError) and not why.retriable and not is_of_clock
        """Whether the topic would refuse the same records again."""


class RecordBatches:
    """Buffers records for many partitions and sends them together."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._batches: defaultdict[tuple[str, int], list[RecordBatch]] = defaultdict(list)

    def add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: bytes) -> None:
        """Append a record to the batch of its partition. `headers` are encoded (`record_encoding.encode_headers`)."""
        batches = self._batches[topic, partition]
        if batches and batches[-1].add(key, value, headers):
            return
        batch = RecordBatch(BATCH_BYTES_MAX)
        # An empty batch accepts a record of any size; the broker enforces the limit.
        batch.add(key, value, headers)
        batches.append(batch)

    def add_texts(self, topic: str, partition: int, records: Sequence[tuple[str, str, str]]) -> None:
        """As `add` for each (key, value, headers): texts whose characters are bytes (Latin-1)."""
        batches = self._batches[topic, partition]
        if not batches:
            batches.append(RecordBatch(BATCH_BYTES_MAX))
        added = batches[-1].add_texts(records)
        while added < len(records):
            batches.append(RecordBatch(BATCH_BYTES_MAX))
            added += batches[-1].add_texts(records[added:])

    async def send(self) -> None:
        """Send all records and wait until all replicas have them. Raises TopicRefused and TimeoutError."""
        sent = []
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            for (topic, partition), batches in self._batches.items():
                sent += [
                    asyncio.ensure_future(_sent(await self._submit(batch, topic, partition), topic))
                    for batch in batches
                ]
            self._batches.clear()
            if sent:
                sent[0].add_done_callback(lambda _: reach(Failpoint.PRODUCED))
                await asyncio.gather(*sent)

    async def _submit(self, batch: RecordBatch, topic: str, partition: int) -> asyncio.Future[RecordMetadata]:
        try:
            # Waits until the partition's previous batch is sent.
            submitted: asyncio.Future[RecordMetadata] = await self._producer.send_batch(
                batch, topic, partition=partition
            )
        except (AssertionError, KafkaError) as error:
            # An AssertionError: the topic was created again with fewer partitions.
            raise TopicRefused(topic, error) from error
        return submitted


async def _sent(batch: asyncio.Future[RecordMetadata], topic: str) -> None:
    try:
        await batch
    except KafkaError as error:
        raise TopicRefused(topic, error) from error
