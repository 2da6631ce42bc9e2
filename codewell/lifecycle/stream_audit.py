"""I11: folding the stream gives the tables. Compares the two while both go on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from codewell.errors import StackUnavailable
from codewell.infra.kafka import reading
from codewell.infra.kafka.config import KafkaConfig
from codewell.infra.postgres.connection import Connection
from codewell.lifecycle import progress, slot, table_spans
from codewell.lifecycle.fold import Breach, Fold
from codewell.lifecycle.fold_store import FoldStore
from codewell.lifecycle.spans import Comparison, Difference, Overlay, in_both, joined, overlaid
from codewell.lifecycle.stream_fold import StreamFold
from schemas.topics import CODE_LIFECYCLE

DIFFERENCES_SHOWN_MAX: Final = 10
# A commit may be in the stream a moment before other sessions see it. What differs for that reason differs no more when
# it is looked at again.
_LOOKS_MAX: Final = 3
# That are kept to be looked at again.
_DIFFERENCES_MAX: Final = 10_000
_NO_LIMIT: Final = 2**64
_POLL_S: Final = 0.1
WAIT_S: Final = 60.0

# Logged after the snapshot, so that all that it sees is before this place. The commit brings the log to disk up to it,
# which on an idle database nothing else does for what was logged without one.
_POSITION: Final = """
    SELECT (pg_logical_emit_message(true, 'codewell', '') - '0/0')::bigint
    FROM set_config('synchronous_commit', 'local', true)
    """


class Compared(NamedTuple):
    """How a fold differs from the tables."""

    codes: int
    """That the tables have, at all places."""
    differing: int
    """How many codes differ."""
    differences: list[Difference]
    """The first _DIFFERENCES_MAX runs of codes that differ in the same way."""


class StreamVerdict(NamedTuple):
    """The result of a check. All is well if `is_clean`."""

    events: int
    copies: int
    """Events that a crash left twice."""
    headless: list[int]
    """Partitions that lack the beginning of their epoch, as the topic's retention removed it."""
    breaches: list[Breach]
    """The first of `breach_count` events that do not follow from those before them."""
    breach_count: int
    compared: Compared

    @property
    def is_clean(self) -> bool:
        """Whether the stream gives the tables."""
        return not self.headless and not self.breach_count and not self.compared.differing


async def compare(connection: Connection, store: FoldStore) -> Compared:
    """Compare a fold with the tables, in the snapshot of the connection's transaction. Raises what asyncpg raises."""
    comparison = Comparison(overlaid(store.spans()))
    differing = 0
    kept: list[Difference] = []
    async for found in _differences(connection, comparison):
        differing += found.codes
        if len(kept) < _DIFFERENCES_MAX:
            kept.append(found)
    return Compared(comparison.codes, differing, list(joined(kept)))


async def audit(
    connection: Connection, watching: Connection, kafka_config: KafkaConfig | str, prefix: str, *,
    wait_s: float = WAIT_S, on_read: Callable[[int], object] = lambda _: None,
) -> StreamVerdict:  # fmt: skip
    """Fold the whole stream and compare it with the tables. `on_read` is called with the number of events read.

    `watching` sees how far the stream is, while a transaction of `connection` keeps a snapshot. Raises
    StackUnavailable: Kafka is unavailable, the stream is off, or `wait_s` (s) after the snapshot it has not come to its
    state. Raises what asyncpg raises.
    """
    partitions = await reading.partitions(kafka_config, [prefix + CODE_LIFECYCLE])
    with TemporaryDirectory(prefix="codewell-") as directory, FoldStore(Path(directory)) as store:
        async with reading.open_reader(kafka_config) as reader:
            stream = StreamFold(reader, await reader.offset_ranges(partitions), Fold(store, len(partitions)))
            look = _Look(connection, watching, stream, store, wait_s, on_read)
            # All that is there, before the snapshot, for which Postgres has to keep old rows.
            await stream.advance(_NO_LIMIT, on_read)
            compared = await look()
            for _ in range(_LOOKS_MAX - 1):
                if not compared.differing or len(compared.differences) == _DIFFERENCES_MAX:
                    break
                again = await look()
                still = list(joined(in_both(compared.differences, again.differences)))
                compared = Compared(again.codes, sum(one.codes for one in still), still)
    fold = stream.fold
    return StreamVerdict(fold.events, stream.copies, stream.headless, fold.breaches, fold.breach_count, compared)


@dataclass(frozen=True)
class _Look:
    """Compares the stream with the tables as they are at one moment."""

    connection: Connection
    watching: Connection
    stream: StreamFold
    store: FoldStore
    wait_s: float
    on_read: Callable[[int], object]

    async def __call__(self) -> Compared:
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            # The fold goes on meanwhile.
            await self.connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            # Takes the snapshot.
            await self.connection.execute("SELECT 1")
            position: int = await self.watching.fetchval(_POSITION)
            await self._wait_for(position)
            await self.stream.advance(position, self.on_read)
            return await compare(self.connection, self.store)

    async def _wait_for(self, position: int) -> None:
        deadline = time.monotonic() + self.wait_s
        name = await slot.slot_name(self.watching)
        while True:
            noted, status = await progress.read(self.watching), await slot.status(self.watching, name)
            if noted is None:
                raise StackUnavailable("The stream of codes is off: run codewell lifecycle.")
            done = status.done if status is not None and noted.is_ready and not status.is_lost else 0
            if done >= position:
                return
            if time.monotonic() > deadline:
                behind = f"{position - done:,} bytes of the log behind" if done else "still at its beginning"
                raise StackUnavailable(
                    f"After {self.wait_s:g} s the stream is {behind}: see that codewell lifecycle runs, and try again."
                )
            await asyncio.sleep(_POLL_S)


async def _differences(connection: Connection, comparison: Comparison) -> AsyncIterator[Difference]:
    overlay = Overlay()
    async for span, is_single in table_spans.read(connection):
        for whole in overlay.take(span, is_single=is_single):
            for found in comparison.take(whole):
                yield found
    for whole in overlay.end():
        for found in comparison.take(whole):
            yield found
    for found in comparison.end():
        yield found
