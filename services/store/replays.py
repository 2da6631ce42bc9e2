"""Which dead letters were published again, and when."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from services.postgres.connection import Connection

_FIND: Final = """
    SELECT r.topic, r.partition, r."offset", r.written_at, r.replayed_at FROM dead_letter_replay r
    JOIN unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[])
        AS p (topic, partition, "offset", written_at)
    USING (topic, partition, "offset", written_at)
    """
_NOTE: Final = """
    INSERT INTO dead_letter_replay (topic, partition, "offset", written_at)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[])
    ON CONFLICT (topic, partition, "offset", written_at) DO UPDATE SET replayed_at = now()
    """


class Place(NamedTuple):
    """Where a dead letter stands for ever. `topic` has the deployment's prefix."""

    topic: str
    partition: int
    offset: int
    written_at: datetime


async def replayed(connection: Connection, places: Sequence[Place]) -> dict[Place, datetime]:
    """When the letters at these places were published again; those that never were are left out."""
    rows = await connection.fetch(_FIND, *_columns(places))
    return {Place(*row[:4]): row["replayed_at"] for row in rows}


async def note(connection: Connection, places: Iterable[Place]) -> None:
    """Note that the letters at these places were published again now."""
    await connection.execute(_NOTE, *_columns(sorted(places)))


def _columns(places: Sequence[Place]) -> list[list[object]]:
    return [[place[column] for place in places] for column in range(len(Place._fields))]
