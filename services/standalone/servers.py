"""Runs Postgres and Kafka together in one home directory."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from services.standalone.home import Home
from services.standalone.jars import Progress
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings
from services.standalone.postgres import PostgresServer, PostgresSettings

One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Servers:
    """The two servers of a home."""

    home: Home
    postgres: PostgresServer
    kafka: KafkaBroker


@asynccontextmanager
async def servers_of(
    path: Path,
    postgres_settings: PostgresSettings | None = None,
    kafka_settings: KafkaSettings | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[Servers]:
    """Both servers of a home, not started yet; what was started of them is stopped at the end of the block."""
    home = await Home.open(path)
    servers = Servers(home, PostgresServer(home, postgres_settings), KafkaBroker(home, kafka_settings, progress))
    try:
        yield servers
    finally:
        try:
            await asyncio.gather(servers.postgres.stop(), servers.kafka.stop())
        finally:
            home.close()


@asynccontextmanager
async def running_servers(
    path: Path,
    postgres_settings: PostgresSettings | None = None,
    kafka_settings: KafkaSettings | None = None,
) -> AsyncIterator[Servers]:
    """Run both servers while the block runs. When one can't start, the other is stopped too."""
    async with servers_of(path, postgres_settings, kafka_settings) as servers:
        await both(servers.postgres.start(), servers.kafka.start())
        yield servers


async def both(one: Coroutine[Any, Any, One], other: Coroutine[Any, Any, Other]) -> tuple[One, Other]:
    """The results of two starts side by side; when one fails, the other is cancelled."""
    starts = asyncio.create_task(one), asyncio.create_task(other)
    try:
        return await asyncio.gather(*starts)
    except BaseException:
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        raise
