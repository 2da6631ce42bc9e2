"""Makes aiokafka handle a closed connection under uvloop.

After a close, asyncio's transports drop writes, while uvloop's raise RuntimeError. aiokafka (0.14,
`AIOKafkaConnection.send`) expects OSError only, so its fetch or send task ended without an error, and the consumer or
producer hung for ever.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _send_or_close(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def patch() -> None:
    """Close the connection on RuntimeError, so that aiokafka reconnects. Applies to all clients, Faust's too."""
    AIOKafkaConnection.send = _send_or_close
