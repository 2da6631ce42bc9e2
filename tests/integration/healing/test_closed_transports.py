"""Under uvloop a closed connection is a broken one to aiokafka, not the end of the task that uses it."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from codewell.infra.kafka import clients

LIMIT_S = 30


async def _write_after_the_end(bootstrap: str, request: Any) -> None:
    host, port = bootstrap.split(":")
    connection = await create_conn(host, int(port), request_timeout_ms=clients.REQUEST_TIMEOUT_MS)
    try:
        # As between the end of the transport and the turn of whoever reads from it.
        connection._read_task.cancel()
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        async with asyncio.timeout(LIMIT_S):
            await connection.send(request)
    finally:
        connection.close()


@pytest.mark.parametrize("request_", [MetadataRequest([]), ProduceRequest(None, -1, 1_000, [])])
async def test_what_is_written_after_the_end_breaks_the_connection(kafka_bootstrap: str, request_: Any) -> None:
    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_write_after_the_end(kafka_bootstrap, request_))

    with pytest.raises(KafkaConnectionError, match="broken"):
        await asyncio.to_thread(run)
