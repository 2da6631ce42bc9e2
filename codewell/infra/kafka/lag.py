"""The lag of a consumer group's member, by partition, as a metric."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from prometheus_client import Gauge

LAG: Final = Gauge(
    "codewell_consumer_lag_records", "Records after the committed offset, of assigned partitions.",
    ["topic", "partition"],
)  # fmt: skip
POLL_INTERVAL_S: Final = 5.0


@asynccontextmanager
async def exported_lag(consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
    """Export the lag of this started consumer's partitions while the block runs, and remove the series after it.

    Queries the broker, since the offsets in fetch responses are stale while a consumer fetches nothing.
    """
    shown: set[TopicPartition] = set()
    watching = asyncio.create_task(_export(consumer, shown))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        _remove_series(shown)


async def _export(consumer: AIOKafkaConsumer, shown: set[TopicPartition]) -> None:
    while True:
        try:
            lags = await _lags(consumer)
        except (KafkaError, IllegalStateError, TimeoutError):
            # The consumer's own loop reports errors of Kafka; a partition may also have been revoked meanwhile.
            pass
        else:
            _remove_series(shown - lags.keys())
            shown.clear()
            shown.update(lags)
            for tp, lag in lags.items():
                LAG.labels(tp.topic, tp.partition).set(lag)
        await asyncio.sleep(POLL_INTERVAL_S)


async def _lags(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    assigned = sorted(consumer.assignment())
    if not assigned:
        return {}
    ends = await consumer.end_offsets(assigned)
    # `committed` asks for one partition: with 48 of them, that was a twentieth of an issuer's processor time.
    committed = await consumer._coordinator.fetch_committed_offsets(assigned)
    starts = await consumer.beginning_offsets([tp for tp in assigned if tp not in committed])
    return {tp: max(0, ends[tp] - (committed[tp].offset if tp in committed else starts[tp])) for tp in assigned}


def _remove_series(partitions: set[TopicPartition]) -> None:
    for tp in partitions:
        LAG.remove(tp.topic, tp.partition)
