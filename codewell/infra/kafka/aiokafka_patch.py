"""A connection that is closed already, seen by aiokafka under uvloop.

asyncio's transports take what is written to them after their end and drop it; uvloop's raise RuntimeError. aiokafka
(0.14, `AIOKafkaConnection.send`) expects OSError alone, so that the task which fetches, or the one which sends, ended
without a word to anybody, and its consumer or producer stood still for ever.
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
    """Make a broken connection of it, which aiokafka opens anew. For every client of this process, Faust's too."""
    AIOKafkaConnection.send = _send_or_close
