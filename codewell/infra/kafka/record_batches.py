"""Builds whole record batches: one call a record and one future a batch, instead of one future a record."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from codewell.infra.kafka.clients import EXCHANGE_TIMEOUT_S
from codewell.infra.process.failpoints import Failpoint, reach

Headers = Sequence[tuple[str, bytes]]


class RecordBatches:
    """Buffers records for many partitions and sends them together."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._batches: defaultdict[tuple[str, int], list[BatchBuilder]] = defaultdict(list)

    def add(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Append a record to the batch of its partition."""
        batches = self._batches[topic, partition]
        if batches and batches[-1].append(timestamp=None, key=key, value=value, headers=headers) is not None:
            return
        batch = self._producer.create_batch()
        # An empty batch accepts a record of any size; the broker enforces the limit.
        batch.append(timestamp=None, key=key, value=value, headers=headers)
        batches.append(batch)

    async def send(self) -> None:
        """Send all records and wait until all replicas have them. Raises what aiokafka raises, and TimeoutError."""
        sent = []
        async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
            for (topic, partition), batches in self._batches.items():
                for batch in batches:
                    batch.close()
                    # Waits until the partition's previous batch is sent.
                    sent.append(await self._producer.send_batch(batch, topic, partition=partition))
            self._batches.clear()
            if sent:
                sent[0].add_done_callback(lambda _: reach(Failpoint.PRODUCED))
                await asyncio.gather(*sent)
