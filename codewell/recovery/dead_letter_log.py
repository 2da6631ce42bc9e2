"""The log of dead letters: which were replayed, which were purged, and when."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

from codewell.errors import StackUnavailable
from codewell.infra.postgres.advisory_lock import try_lock
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection

# Held by a replay or purge while its connection lives. The numbers are unique among all advisory locks.
_ADVISORY_LOCK: Final = (0x636F6465, 3)

_PLACES: Final = """
    unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[]) AS p (topic, partition, "offset", written_at)
    """
_FIND: Final = f"""
    SELECT p.*, d.replayed_at, d.replay_from, d.purged_at FROM {_PLACES}
    JOIN dead_letter d USING (topic, partition, "offset", written_at)
    """  # noqa: S608  a constant
_BEGIN: Final = """
    INSERT INTO dead_letter (topic, partition, "offset", written_at, replay_from)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::bigint[])
    ON CONFLICT (topic, partition, "offset", written_at) DO UPDATE SET replay_from = excluded.replay_from
    """
_REPLAYED: Final = f"""
    UPDATE dead_letter d SET replayed_at = now() FROM {_PLACES}
    WHERE (d.topic, d.partition, d."offset", d.written_at) = (p.topic, p.partition, p."offset", p.written_at)
    """  # noqa: S608  a constant
_PURGED: Final = f"""
    INSERT INTO dead_letter (topic, partition, "offset", written_at, purged_at) SELECT p.*, now() FROM {_PLACES}
    ON CONFLICT (topic, partition, "offset", written_at) DO UPDATE SET purged_at = now()
    """  # noqa: S608  a constant


class RecordPlace(NamedTuple):
    """The permanent identity of a dead letter. `topic` includes the deployment's prefix.

    A topic that is deleted and created again restarts its offsets, so the identity includes the letter's time.
    """

    topic: str
    partition: int
    offset: int
    written_at: datetime


class LetterHandling(NamedTuple):
    """The handling of one letter."""

    replayed_at: datetime | None = None
    replay_from: int | None = None
    """Offset in the request topic's partition from which to search for the event, once a replay has started."""
    purged_at: datetime | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether a replay has started and not recorded its end, so that the event may or may not be published."""
        return self.replay_from is not None and self.replayed_at is None


@asynccontextmanager
async def exclusive_lock(connection: Connection) -> AsyncIterator[None]:
    """Hold the lock of replays and purges while the block runs. Raises StackUnavailable if another process holds it.

    The lock belongs to the connection, so that a killed process releases it.
    """
    async with try_lock(connection, _ADVISORY_LOCK) as is_held:
        if not is_held:
            raise StackUnavailable("Another command is replaying or purging dead letters: try again when it ends.")
        yield


async def get_handling(connection: Connection, places: Sequence[RecordPlace]) -> dict[RecordPlace, LetterHandling]:
    """The handling of the letters at these places; letters without any are omitted."""
    rows = await connection.fetch(_FIND, *_columns(places))
    return {RecordPlace(*row[:4]): LetterHandling(*row[4:]) for row in rows}


async def record_replay_start(connection: Connection, begun: Mapping[RecordPlace, int]) -> None:
    """Record that these letters are about to be replayed, each with the end offset of its target partition."""
    rows = [(*place, offset) for place, offset in sorted(begun.items())]
    await connection.execute(_BEGIN, *columns_of(rows, 5))


async def record_replayed(connection: Connection, places: Iterable[RecordPlace]) -> None:
    """Record that Kafka has the replayed events of these letters."""
    await connection.execute(_REPLAYED, *_columns(sorted(places)))


async def record_purged(connection: Connection, places: Iterable[RecordPlace]) -> None:
    """Mark these letters as purged."""
    await connection.execute(_PURGED, *_columns(sorted(places)))


async def delete_below(connection: Connection, topic: str, partition: int, offset: int) -> None:
    """Delete the log of letters that Kafka has deleted."""
    await connection.execute(
        'DELETE FROM dead_letter WHERE topic = $1 AND partition = $2 AND "offset" < $3', topic, partition, offset
    )


def _columns(places: Sequence[RecordPlace]) -> list[list[object]]:
    return [[place[column] for place in places] for column in range(len(RecordPlace._fields))]
