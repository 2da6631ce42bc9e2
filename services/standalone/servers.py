"""Runs Postgres and Kafka together in one home directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.standalone.home import Home
from services.standalone.jars import Progress
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings
from services.standalone.postgres import PostgresServer, PostgresSettings


@dataclass(frozen=True)
class Servers:
    home: Home
    postgres: PostgresServer
    kafka: KafkaBroker


@asynccontextmanager
async def running_servers(
    path: Path,
    postgres_settings: PostgresSettings | None = None,
    kafka_settings: KafkaSettings | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[Servers]:
    """Run both servers while the block runs. When one can't start, the other is stopped too."""
    home = await Home.open(path)
    servers = Servers(home, PostgresServer(home, postgres_settings), KafkaBroker(home, kafka_settings, progress))
    try:
        await _start(servers)
        yield servers
    finally:
        try:
            await asyncio.gather(servers.postgres.stop(), servers.kafka.stop())
        finally:
            home.close()


async def _start(servers: Servers) -> None:
    starts = [asyncio.create_task(servers.postgres.start()), asyncio.create_task(servers.kafka.start())]
    try:
        await asyncio.gather(*starts)
    except BaseException:
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        raise
