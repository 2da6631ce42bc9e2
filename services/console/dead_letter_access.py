"""The way to dead letters in Kafka, for requests: a few at a time, each within a limited time, with few connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from codewell.errors import StackUnavailable
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.connection import Connection, Pool
from codewell.recovery.dead_letter_log import exclusive_lock
from codewell.recovery.dead_letters import DeadLetters, open_dead_letters
from codewell.recovery.step_limit import StepLimit
from services.console.http.problems import RETRY_AFTER_S, try_later

READERS_MAX: Final = 2
# Letters that one request examines, and after what time (s) it ends with a cursor.
STEP_LETTERS_MAX: Final = 5_000
STEP_TIME_S: Final = 5.0
# Kafka is not asked for longer: the request fails.
REQUEST_TIMEOUT_S: Final = 25.0


class OpenedLetters(NamedTuple):
    """The dead letters, and what their replay and purge need."""

    letters: DeadLetters
    connection: Connection
    kafka_config: KafkaConfig
    prefix: str
    limit: StepLimit


class DeadLetterAccess:
    """Opens dead letters for requests of one console."""

    def __init__(self, kafka_config: KafkaConfig, prefix: str) -> None:
        self._kafka_config = kafka_config
        self._prefix = prefix
        self._readers = 0

    @asynccontextmanager
    async def opened(self, pool: Pool, *, exclusively: bool = False) -> AsyncIterator[OpenedLetters]:
        """Open the letters; exclusively to change something.

        Raises HttpProblem (503) when READERS_MAX requests read already, and StackUnavailable when Kafka does not
        answer in time or another process replays or purges.
        """
        if self._readers >= READERS_MAX:
            sentence = "Two requests read dead letters on this console already: try again in a moment."
            raise try_later("dead_letters_busy", sentence, RETRY_AFTER_S)
        self._readers += 1
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S), pool.acquire() as connection:
                if exclusively:
                    async with exclusive_lock(connection), self._open(connection) as opened:
                        yield opened
                else:
                    async with self._open(connection) as opened:
                        yield opened
        except TimeoutError as error:
            raise StackUnavailable(
                f"Kafka did not answer within {REQUEST_TIMEOUT_S:.0f} s: try again. Nothing is lost, and nothing that "
                "was replayed is replayed twice."
            ) from error
        finally:
            self._readers -= 1

    @asynccontextmanager
    async def _open(self, connection: Connection) -> AsyncIterator[OpenedLetters]:
        async with open_dead_letters(self._kafka_config, self._prefix) as letters:
            limit = StepLimit(STEP_LETTERS_MAX, STEP_TIME_S)
            yield OpenedLetters(letters, connection, self._kafka_config, self._prefix, limit)
