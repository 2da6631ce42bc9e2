"""Closes Kafka clients within a time limit, also while no broker is there."""

import asyncio
import logging
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

log = logging.getLogger("codewell_client")

CLOSE_TIMEOUT_S: Final = 5.0


async def close(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client; what a producer could not send within `CLOSE_TIMEOUT_S` is dropped."""
    # A task of its own, as a consumer's stop may end with the CancelledError of one of its own tasks.
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=CLOSE_TIMEOUT_S)
    if not stopping.done():
        # An idempotent producer repeats what it has until the broker is back, which may be never.
        stopping.cancel()
        await asyncio.wait([stopping])
        if isinstance(client, AIOKafkaProducer):
            await client._sender.close()
            client._message_accumulator.fail_all(KafkaTimeoutError())
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        log.warning("Closing a Kafka client failed: %r", error)
    # An error during the stop leaves the connections open.
    await (client.client if isinstance(client, AIOKafkaProducer) else client._client).close()
