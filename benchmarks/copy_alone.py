"""A ceiling, not a product: the COPY of a backlog's answers into a table like `answer`, and nothing else of a claim."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks.race import Outcome
from benchmarks.usage import cpu_seconds, machine_cpu_seconds, peak_memory_mb
from codewell.infra.postgres.connection import Connection, connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import copy_answers
from codewell.issuing.model import Run
from services.issuer.settings import IssuerSettings
from services.standalone.servers import Servers

TABLE: Final = "answer_alone"
_BATCH: Final = IssuerSettings.model_fields["batch_size_max"].default
_TTL: Final = timedelta(days=30)


async def copied(requests: int, servers: Servers) -> Outcome:
    """Store the answers of this many requests in batches of an issuer's size, encoded before the measurement.

    Each batch is a transaction. Raises what asyncpg raises.
    """
    async with connection(servers.postgres.url, "codewell-bench") as opened:
        await make_table(opened)
        batches = list(encoded(requests))
        server = servers.postgres.child
        pids = [] if server is None else [server.pid]
        machine_before, client_before, server_before = machine_cpu_seconds(), time.process_time(), cpu_seconds(pids)
        began = time.perf_counter()
        for batch in batches:
            await copy(opened, batch)
        seconds = time.perf_counter() - began
        cpu_s = {"client": time.process_time() - client_before, "postgres": cpu_seconds(pids) - server_before}
        others_cpu_s = machine_cpu_seconds() - machine_before - sum(cpu_s.values())
        return Outcome(requests, seconds, cpu_s, others_cpu_s, peak_memory_mb(os.getpid()))


async def make_table(opened: Connection) -> None:
    """An empty table with the columns, checks and indexes of `answer`."""
    await opened.execute(f"DROP TABLE IF EXISTS {TABLE}")
    await opened.execute(f"CREATE TABLE {TABLE} (LIKE answer INCLUDING ALL)")


async def copy(opened: Connection, batch: bytes) -> None:
    """Store a batch, as a claim does."""
    await opened.copy_to_table(
        TABLE, source=memoryview(batch), columns=copy_answers.columns(links=False), format="binary"
    )


def encoded(requests: int) -> Iterator[bytes]:
    """The answers of plain requests for one program, each batch in the binary COPY format."""
    now = datetime.now(UTC)
    for first in range(0, requests, _BATCH):
        positions = range(first, min(requests, first + _BATCH))
        run = Run(
            [uuid7() for _ in positions],
            [f"p-{number}" for number in positions],
            1,
            1,
            positions,
            [f"smFg-{number % 10_000:04}-DMPB" for number in positions],
            now + _TTL,
            None,
            now,
        )
        yield copy_answers.encode((), (run,), links=False)
