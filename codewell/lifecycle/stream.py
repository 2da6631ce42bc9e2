"""Reads committed changes through the slot, publishes their events, and notes how far it is.

One process does it at a time (`WORK_LOCK`). The order is: read, publish, note, move the slot. After a crash at any step
the same changes are read again and have the same places, ids and partitions; what a partition has is not published
again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.infra.process.failpoints import Failpoint, reach
from codewell.lifecycle import epochs, progress, slot, snapshot
from codewell.lifecycle.drafts import EventDraft
from codewell.lifecycle.epochs import Situation
from codewell.lifecycle.facts import KnownFacts
from codewell.lifecycle.given_rows import GivenDrafts
from codewell.lifecycle.pgoutput import LogDecoder, Transaction
from codewell.lifecycle.progress import Snapshot
from codewell.lifecycle.pseudonyms import pseudonyms
from codewell.lifecycle.publisher import Placed, Publisher, profiles_of, webhook_events
from codewell.lifecycle.records import sequences_of
from codewell.lifecycle.translation import Translation, blocks_of, programs_of
from codewell.webhooks import enqueue
from schemas import lifecycle

# Unique among all advisory locks.
WORK_LOCK: Final = (0x636F6465, 42)
# Of one reading. Postgres decodes from its last mark on each time, and keeps what it gives in a file.
CHANGES_MAX: Final = 100_000
# Published and noted together: some 10 MB.
EVENTS_MAX: Final = 10_000
# How often a slot without changes of ours is moved past what others logged.
IDLE_S: Final = 2.0
_MARK_EVERY: Final = 10_000
_IDLE_IN_READING: Final = "SET LOCAL idle_in_transaction_session_timeout = '120s'"
# A commit of its own: once it is done, a synchronous standby has all that was read before.
_WAIT_FOR_STANDBY: Final = """
    SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
           THEN pg_logical_emit_message(true, 'codewell', '') END
    """
_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 946684800000000"

OnPublished = Callable[[Mapping[str, int], float], None]
"""Called with how many events of each type were published, and how old the last one is (s)."""


class Stream:
    """The work of one process that has the lock, over two connections: for reading the log, and for all else."""

    def __init__(
        self, connection: Connection, reading: Connection, publisher: Publisher, on_published: OnPublished
    ) -> None:
        self._connection = connection
        self._reading = reading
        self._publisher = publisher
        self._on_published = on_published
        self._facts = KnownFacts()
        self._given = GivenDrafts(self._facts)
        self.slot = ""
        """The name of the replication slot."""
        self.epoch = 0
        self._timeline = 0
        self._done = 0
        self._snapshot: Snapshot | None = None
        self._may_mark = False
        self._since_mark = 0
        self._looked_at = -1
        self._moved_at = 0.0
        self._moved_to = 0

    async def begin(self) -> str | None:
        """Find where the stream is; begin a new epoch where it must. Returns the reason for one, if it began."""
        connection = self._connection
        await slot.check_server(connection)
        self.slot = await slot.slot_name(connection)
        self._may_mark = await slot.may_mark(connection)
        situation = Situation(
            await progress.read(connection), await slot.status(connection, self.slot),
            await slot.timeline(connection), await slot.position(connection), self._publisher.last,
            self._publisher.is_new_topic,
        )  # fmt: skip
        self._timeline = situation.timeline
        reason = epochs.reason_for_epoch(situation)
        if reason is not None:
            self.epoch = await epochs.begin(connection, self.slot, situation, reason)
            await self._publish_snapshot(reason)
        noted = await progress.read(connection)
        if noted is None:
            raise LookupError("the progress of the stream is gone")
        self.epoch, self._done, self._snapshot = noted.epoch, noted.done, noted.snapshot
        return reason

    async def read(self) -> int:
        """Read and publish what was committed since, up to some 100,000 changes. Returns the number of changes."""
        until = await slot.position(self._connection)
        if until == self._looked_at:
            await self._move_idle_slot(until)
            return 0
        changes, pending = 0, _Pending()
        async with self._reading.transaction():
            await self._reading.execute(_IDLE_IN_READING)
            decoder = LogDecoder()
            async for page in slot.peek(self._reading, self.slot, CHANGES_MAX):
                changes += len(page)
                transactions = [one for one in map(decoder.decode, page) if one is not None]
                await self._translate(transactions, pending)
                if len(pending.events) >= EVENTS_MAX:
                    await self._flush(pending)
        await self._flush(pending)
        await self._move_slot(changes, until)
        return changes

    async def _translate(self, transactions: Sequence[Transaction], pending: "_Pending") -> None:
        needed: set[int] = set()
        programs: set[int] = set()
        for one in transactions:
            needed |= blocks_of(one)
            programs |= programs_of(one)
        await self._facts.read(self._connection, needed, programs)
        for one in transactions:
            pending.end = one.end_lsn
            if one.end_lsn <= self._done or (self._snapshot is not None and self._snapshot.has(one.xid, one.lsn)):
                continue
            drafts = Translation(one, self._facts, self._given).drafts()
            pending.events += _placed(drafts, self.epoch, one.lsn, one.at)

    async def _flush(self, pending: "_Pending") -> None:
        """Publish what is pending, and note it."""
        events, end = pending.events, pending.end
        if events:
            reach(Failpoint.STREAM_READ)
            named = await pseudonyms(self._connection, profiles_of(events))
            await self._connection.execute(_WAIT_FOR_STANDBY)
            counts = await self._publisher.publish(events, named)
            reach(Failpoint.STREAM_PUBLISHED)
            async with self._connection.transaction():
                await enqueue(self._connection, webhook_events(events, named))
                await progress.advance(self._connection, self.epoch, end, self._timeline)
            reach(Failpoint.STREAM_NOTED)
            now = await self._connection.fetchval(_NOW)
            self._on_published(counts, max(0.0, (now - events[-1].at) / 1e6))
            pending.events = []
        self._done = max(self._done, end)

    async def _move_slot(self, changes: int, until: int) -> None:
        if changes == 0:
            self._looked_at = until
            await self._move_idle_slot(until)
            return
        await slot.advance(self._connection, self.slot, self._done)
        self._since_mark += changes
        if self._may_mark and self._since_mark >= _MARK_EVERY:
            self._since_mark = 0
            await slot.mark(self._connection)

    async def _move_idle_slot(self, until: int) -> None:
        """Move the slot past what others logged, at times: its place says up to where all is published."""
        if self._moved_to < until and time.monotonic() - self._moved_at > IDLE_S:
            await slot.advance(self._connection, self.slot, until)
            self._moved_at, self._moved_to = time.monotonic(), until

    async def _publish_snapshot(self, reason: str) -> None:
        """Publish that the epoch begins, what there is, and that this was all."""
        at = await self._connection.fetchval(_NOW)
        numbers = count()
        start = f'{{"epoch":{self.epoch},"reason":"{reason}"}}'
        await self._publish_all([EventDraft(lifecycle.EPOCH_STARTED, None, "epoch", start)], numbers, at)
        async with epochs.open_snapshot(self._connection, self._reading, self.slot) as opened:
            pending: list[EventDraft] = []
            async for page in snapshot.drafts(self._reading, self._facts):
                pending += page
                if len(pending) >= EVENTS_MAX:
                    await self._publish_all(pending, numbers, at)
                    reach(Failpoint.STREAM_SNAPSHOT)
                    pending = []
            pending.append(EventDraft(lifecycle.EPOCH_READY, None, "epoch", f'{{"epoch":{self.epoch}}}'))
            await self._publish_all(pending, numbers, at)
        reach(Failpoint.STREAM_SNAPSHOT)
        await progress.set_ready(self._connection, self.epoch, opened.text, opened.end, opened.done)

    async def _publish_all(self, drafts: Iterable[EventDraft], numbers: Iterator[int], at: int) -> None:
        before = sequences_of(self.epoch, 0)
        events = [Placed(draft, f"{before}{next(numbers):08X}", 0, at) for draft in drafts]
        named = await pseudonyms(self._connection, profiles_of(events))
        self._on_published(await self._publisher.publish(events, named), 0.0)


class _Pending:
    """Events to publish, and the place in the log up to which they are all."""

    def __init__(self) -> None:
        self.events: list[Placed] = []
        self.end = 0


def _placed(drafts: Iterator[EventDraft], epoch: int, lsn: int, at: int) -> list[Placed]:
    before = sequences_of(epoch, lsn)
    return [Placed(draft, f"{before}{number:08X}", lsn, at) for number, draft in enumerate(drafts)]
