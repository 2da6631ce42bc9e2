"""A real Kafka with Codewell's topics, and the lag of its issuers' group."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from codewell.infra.kafka.topics import create_topics
from services.standalone.home import Home
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings

TOPIC: Final = "message-render"
GROUP: Final = "codewell-issuer"
START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Requests:
    """The requests that wait for issuers."""

    bootstrap: str

    async def publish(self, count: int) -> None:
        """Add this many requests, spread over the topic's partitions."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            for number in range(count):
                await producer.send(TOPIC, b"{}", key=str(number).encode())

    async def take_all(self) -> None:
        """Commit as issuers do that have answered everything: no lag is left."""
        consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=self.bootstrap, group_id=GROUP, enable_auto_commit=False)
        async with consumer:
            partitions = consumer.assignment()
            await consumer.commit(await consumer.end_offsets(partitions))


@asynccontextmanager
async def kafka(folder: Path) -> AsyncIterator[Requests]:
    """Run a broker with all topics while the block runs."""
    home = await Home.open(folder)
    broker = KafkaBroker(home, KafkaSettings(start_timeout_s=START_TIMEOUT_S))
    try:
        bootstrap = await broker.start()
        await create_topics(bootstrap, "")
        yield Requests(bootstrap)
    finally:
        await broker.stop()
        home.close()
