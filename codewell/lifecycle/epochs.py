"""Begins epochs: when one has to begin, and a snapshot that fits to the slot without a gap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.lifecycle import progress, slot
from codewell.lifecycle.progress import Reason, StreamProgress
from codewell.lifecycle.records import StreamPlace
from codewell.lifecycle.slot import SlotStatus

_WAIT_S: Final = 0.05
_XMAX: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_XMIN: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_SNAPSHOT: Final = "SELECT pg_current_snapshot()::text"
_MINUTES: Final = "SELECT (extract(epoch FROM now()) / 60)::integer"
_END: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'"


class Situation(NamedTuple):
    """What is known when a worker begins."""

    noted: StreamProgress | None
    slot: SlotStatus | None
    timeline: int
    position: int
    """The end of the database's log."""
    published: StreamPlace | None
    """The last place in the topic."""
    is_new_topic: bool
    """The topic has never had a record."""


def reason_for_epoch(now: Situation) -> Reason | None:
    """Why an epoch has to begin; None if the stream goes on where it is."""
    noted, published = now.noted, now.published
    if noted is None:
        return "switched_on"
    if published is not None and _is_replaced(now, noted, published):
        return "database_replaced"
    if not noted.is_ready:
        return "snapshot_interrupted"
    if now.slot is None or now.slot.is_lost:
        return "slot_lost"
    # The topic was made anew, perhaps in another cluster: it lacks the beginning of the epoch.
    return "switched_on" if now.is_new_topic else None


def _is_replaced(now: Situation, noted: StreamProgress, published: StreamPlace) -> bool:
    """Whether the topic has events of commits that this database may lack."""
    if published.epoch != noted.epoch:
        return published.epoch > noted.epoch
    if published.lsn > now.position:
        return True
    return now.timeline != noted.timeline and published.lsn > noted.done


class OpenSnapshot(NamedTuple):
    """A snapshot that is being read, and which transactions it has seen."""

    text: str
    end: int
    done: int
    """From this place in the log on the slot gives commits."""


async def begin(connection: Connection, name: str, now: Situation, reason: Reason) -> int:
    """Note that a new epoch begins, with a new slot, and return its number. Waits for open transactions."""
    known = (now.noted.epoch if now.noted else 0, now.published.epoch if now.published else 0)
    epoch = max(known) + 1
    if now.published is None and not now.is_new_topic:
        # Its retention has removed all, and readers may know a later epoch than the database: they take no lower one.
        epoch = max(epoch, await connection.fetchval(_MINUTES))
    if now.slot is not None:
        await slot.drop(connection, name)
    await progress.begin(connection, epoch, reason, now.timeline)
    return epoch


@asynccontextmanager
async def open_snapshot(connection: Connection, reading: Connection, name: str) -> AsyncIterator[OpenSnapshot]:
    """Make the slot, and keep a transaction of `reading` open that sees all that the slot will not give.

    It may see more: `Snapshot.has` tells which of the slot's transactions it has seen.
    """
    done = await slot.create(connection, name)
    # A commit that is in the log before the slot's begin may not be visible yet, as while it waits for a standby.
    newest = await connection.fetchval(_XMAX)
    while await connection.fetchval(_XMIN) < newest:
        await asyncio.sleep(_WAIT_S)
    async with reading.transaction(isolation="repeatable_read", readonly=True):
        await reading.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        text = await reading.fetchval(_SNAPSHOT)
        yield OpenSnapshot(text, int(await connection.fetchval(_END)), done)
