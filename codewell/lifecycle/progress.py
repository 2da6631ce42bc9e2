"""How far the stream is: the one row of lifecycle_progress."""

from typing import Final, Literal, NamedTuple

from codewell.infra.postgres.connection import Connection

Reason = Literal["switched_on", "slot_lost", "database_replaced", "snapshot_interrupted"]

_READ: Final = """
    SELECT epoch, timeline, is_ready, snapshot::text, snapshot_end - '0/0' AS snapshot_end, done - '0/0' AS done
    FROM lifecycle_progress
    """
_BEGIN: Final = """
    INSERT INTO lifecycle_progress (epoch, reason, timeline, done) VALUES ($1, $2, $3, pg_current_wal_lsn())
    ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason, timeline = excluded.timeline,
        snapshot = NULL, snapshot_end = NULL, is_ready = false, done = excluded.done, changed_at = clock_timestamp()
    """
_READY: Final = """
    UPDATE lifecycle_progress SET is_ready = true, snapshot = $2::text::pg_snapshot,
        snapshot_end = '0/0'::pg_lsn + $3::numeric, done = '0/0'::pg_lsn + $4::numeric, changed_at = clock_timestamp()
    WHERE epoch = $1
    """
_ADVANCE: Final = """
    UPDATE lifecycle_progress SET done = '0/0'::pg_lsn + $2::numeric, timeline = $3, changed_at = clock_timestamp()
    WHERE epoch = $1 AND done < '0/0'::pg_lsn + $2::numeric
    """
_END: Final = "DELETE FROM lifecycle_progress"
_FORGET: Final = "DELETE FROM lifecycle_profile WHERE forgotten_at <= (SELECT done FROM lifecycle_progress)"
_FORGET_ALL: Final = "DELETE FROM lifecycle_profile WHERE forgotten_at IS NOT NULL"


class Snapshot(NamedTuple):
    """Which transactions an epoch's snapshot has seen: all that are visible and whose commit is before `end`."""

    xmin: int
    xmax: int
    running: frozenset[int]
    end: int
    """A place in the log: bytes."""

    def has(self, xid: int, lsn: int) -> bool:
        """Whether it has seen the transaction with this id (its lower 32 bits), whose commit is at `lsn`."""
        if lsn >= self.end:
            return False
        # Ids wrap; those of transactions that end around the snapshot are near its own.
        near = self.xmax - (1 << 31)
        full = near + ((xid - near) & 0xFFFFFFFF)
        return full < self.xmin or (full < self.xmax and full not in self.running)


class StreamProgress(NamedTuple):
    """How far the stream is. `done`: all commits that end before this place (bytes) are published."""

    epoch: int
    timeline: int
    is_ready: bool
    snapshot: Snapshot | None
    done: int


def parse_snapshot(text: str, end: int) -> Snapshot:
    """The snapshot that Postgres writes as XMIN:XMAX:XID,XID,..."""
    xmin, xmax, running = text.split(":")
    return Snapshot(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))), end)


async def read(connection: Connection) -> StreamProgress | None:
    """The progress; None if the stream is off."""
    row = await connection.fetchrow(_READ)
    if row is None:
        return None
    snapshot = None if row["snapshot"] is None else parse_snapshot(row["snapshot"], int(row["snapshot_end"]))
    return StreamProgress(row["epoch"], row["timeline"], row["is_ready"], snapshot, int(row["done"]))


async def begin(connection: Connection, epoch: int, reason: Reason, timeline: int) -> None:
    """Note that this epoch begins; its snapshot is not published."""
    await connection.execute(_BEGIN, epoch, reason, timeline)


async def set_ready(connection: Connection, epoch: int, snapshot: str, end: int, done: int) -> None:
    """Note that the epoch's snapshot is published, and that commits follow from `done` on."""
    await connection.execute(_READY, epoch, snapshot, end, done)


async def advance(connection: Connection, epoch: int, done: int, timeline: int) -> None:
    """Note that all before this place is published."""
    await connection.execute(_ADVANCE, epoch, done, timeline)
    await connection.execute(_FORGET)


async def end(connection: Connection) -> None:
    """Note that the stream is off."""
    await connection.execute(_END)
    await connection.execute(_FORGET_ALL)
