"""How far a consumer is behind, as it is told to whoever watches."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from codewell.infra.kafka import clients, lag
from tests.integration.issuer.conftest import site
from tests.support.running import until
from tests.support.site import Site

__all__ = ["site"]


def told(prefix: str) -> dict[str, float]:
    """The figures of these topics by partition."""
    [metric] = lag.LAG.collect()
    return {one.labels["partition"]: one.value for one in metric.samples if one.labels["topic"].startswith(prefix)}


async def test_the_lag_is_what_is_not_committed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "POLL_INTERVAL_S", 0.05)
    for number in range(5):
        await site.put("program-changed", b"{}", partition=number % 2)
    topic = site.prefix + "program-changed"
    consumer = clients.consumer(site.bootstrap, f"{site.prefix}lag")
    consumer.subscribe([topic])
    await consumer.start()
    try:
        async with lag.exported_lag(consumer):
            # Nothing was ever committed, nor is anything read: all that the topic holds is to come.
            await tells(site, {"0": 3, "1": 2})
            await consumer.commit({TopicPartition(topic, 0): 2, TopicPartition(topic, 1): 2})
            await tells(site, {"0": 1, "1": 0})
            other = await second_member(site, topic)
            try:
                await until_told(site, 1)
            finally:
                await other.stop()
    finally:
        await consumer.stop()
    assert told(site.prefix) == {}


async def second_member(site: Site, topic: str) -> AIOKafkaConsumer:
    other = clients.consumer(site.bootstrap, f"{site.prefix}lag")
    other.subscribe([topic])
    await other.start()
    return other


async def tells(site: Site, wanted: dict[str, float]) -> None:
    async def told_so() -> bool:
        return told(site.prefix) == wanted

    await until(told_so, f"lag of {wanted}")


async def until_told(site: Site, partitions: int) -> None:
    async def told_so() -> bool:
        return len(told(site.prefix)) == partitions

    await until(told_so, f"lag of {partitions} partitions")
