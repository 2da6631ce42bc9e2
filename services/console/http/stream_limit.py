"""Limits streamed answers or uploads of one kind: how many a token and a console may have, how many read at a time.

A stream holds a connection to the database only while it reads a piece, so slow readers cost memory and a socket, and
slow senders a file that grows. The limits bound those, and leave connections to other requests.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from codewell.infra.postgres.connection import Connection, Pool
from services.console.http.problems import try_later

STREAMS_PER_TOKEN_MAX: Final = 2
UPLOADS_PER_TOKEN_MAX: Final = 4
STREAMS_MAX: Final = 16
# Of a console's connections.
READING_MAX: Final = 2
_RETRY_AFTER_S: Final = 30


class StreamLimit:
    """The streams of one kind in this console."""

    def __init__(self, pool: Pool, kind: str, of_token_max: int = STREAMS_PER_TOKEN_MAX) -> None:
        """`kind` names the streams in the plural."""
        self._pool = pool
        self._kind = kind
        self._of_token_max = of_token_max
        self._of_token: Counter[int] = Counter()
        self._reading = asyncio.Semaphore(READING_MAX)

    @contextmanager
    def slot(self, token_id: int) -> Iterator[None]:
        """Hold a slot. Raises HttpProblem: 429 when the token has none left, 503 when the console has none."""
        if self._of_token[token_id] >= self._of_token_max:
            sentence = f"This token may have {self._of_token_max} {self._kind} at a time: finish one, or wait."
            raise try_later("streams_exhausted", sentence, _RETRY_AFTER_S)
        if self._of_token.total() >= STREAMS_MAX:
            sentence = f"Too many {self._kind} run on this console: try again later."
            raise try_later("streams_busy", sentence, _RETRY_AFTER_S)
        self._of_token[token_id] += 1
        try:
            yield
        finally:
            self._of_token[token_id] -= 1
            self._of_token += Counter()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one piece, once fewer than READING_MAX pieces are read. Raises what asyncpg raises."""
        async with self._reading, self._pool.acquire() as connection:
            yield connection
