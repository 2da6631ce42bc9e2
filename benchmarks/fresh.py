"""Starts Postgres and Kafka in a temporary home for one benchmark."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.report import Progress
from codewell.infra.postgres.connection import connection
from codewell.infra.postgres.migrations import migrate
from services.standalone.home import Home
from services.standalone.kafka_config import KafkaSettings
from services.standalone.postgres import PostgresServer, PostgresSettings
from services.standalone.servers import Servers, running_servers

# As in production; the standalone stack is configured for small machines.
POSTGRES: Final = PostgresSettings(shared_buffers="2GB", temporary=True)
KAFKA: Final = KafkaSettings(heap_initial="1g", heap_max="1g", optimized=True)


@asynccontextmanager
async def fresh_servers(progress: Progress, postgres: PostgresSettings = POSTGRES) -> AsyncIterator[Servers]:
    """Both servers, with the schema, without topics. Postgres has 2 GB of shared buffers and 8 GB of WAL as always."""
    with TemporaryDirectory(prefix="codewell-bench-") as directory:
        # When root runs this, Postgres runs as another user, which needs access.
        Path(directory).chmod(0o711)
        progress("starting Postgres and Kafka")
        async with running_servers(Path(directory) / "home", postgres, KAFKA) as servers:
            async with connection(servers.postgres.url, "codewell-bench") as opened:
                await migrate(opened)
            yield servers


@asynccontextmanager
async def fresh_postgres(progress: Progress) -> AsyncIterator[tuple[Home, PostgresServer]]:
    """The same Postgres without Kafka, and its home."""
    with TemporaryDirectory(prefix="codewell-bench-") as directory:
        Path(directory).chmod(0o711)
        progress("starting Postgres")
        home = await Home.open(Path(directory) / "home")
        server = PostgresServer(home, POSTGRES)
        try:
            await server.start()
            async with connection(server.url, "codewell-bench") as opened:
                await migrate(opened)
            yield home, server
        finally:
            try:
                await server.stop()
            finally:
                home.close()
