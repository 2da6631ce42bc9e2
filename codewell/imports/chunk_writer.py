"""Stores the chunks of a file: each chunk's codes, counters, bad rows and progress in one transaction.

A chunk locks the program's row, so that a text enters the program once and the maximum holds; claims don't lock that
row. Its blocks grow in the last step before the commit, so that claims skip the locked blocks only for that long.

Postgres stores the texts of a connection on one core. So a chunk's texts may be copied early on another connection,
while the chunk before is stored, and the locks are taken after that. Another transaction may wait for copied texts, and
this one for it; Postgres sees no deadlock where a part of the circle is in this process. So a transaction
that copies early waits only briefly for a lock, and is rolled back then: the chunk is stored anew, alone.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.codes import possible_texts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused
from codewell.imports.candidates import BadRow, Candidate, Chunk, UsualCandidates, bad_row, texts_of
from codewell.imports.known_texts import drop_alike, drop_ended, drop_holders, drop_listed, drop_minted
from codewell.imports.placing import (
    BlockChanged,
    BlockPlace,
    BlockRun,
    Growing,
    block_runs,
    copy_texts,
    expires_at,
    grow_blocks,
    grown,
    make_blocks,
)
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from codewell.issuing.assignments import AssignmentTaken
from codewell.issuing.attach import attach_codes
from codewell.issuing.model import ManualRequest, PooledCode
from codewell.pool import folded_texts
from codewell.pool.fill import locked
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_fact
from codewell.profiles.deciding_lock import hold_deciding_lock

# A crash of the server may lose the last chunks, from which the import goes on; its end waits for the disk.
_LOCK: Final = """
    SELECT state, rows_read, bad, started_at, set_config('synchronous_commit', 'off', true),
           CASE WHEN $2 AND has_sequence_privilege(s.name, 'USAGE') THEN nextval(s.name) END AS block_id
    FROM import, pg_get_serial_sequence('block', 'id') AS s (name) WHERE id = $1 FOR NO KEY UPDATE OF import
    """

# Much less than Postgres' deadlock timeout, after which it would end either of two transactions.
_BEGIN_EARLY: Final = "BEGIN; SET LOCAL lock_timeout = 100"

_COUNT: Final = f"""
    WITH counted AS (
        UPDATE program SET imported = imported + $2, {folded_texts.COUNT_FOLDED.format(number="$2")}
        WHERE id = (SELECT program_id FROM import WHERE id = $1)
    )
    UPDATE import SET rows_read = $3, imported = imported + $2, attached = attached + $4, bad = $5::jsonb,
                      case_variants = case_variants + $6, share_read = $7
    WHERE id = $1
    """  # noqa: S608  a constant


class ImportEnded(Exception):
    """The import was undone, or another process has continued it."""


class _AnnouncementLost(Exception):
    """The announcement that this program imports texts was lost: caches may still assume that it has none."""


class _CopyUseless(Exception):
    """The texts of a chunk that were copied early are not those that enter the program."""


_USELESS: Final = (
    _CopyUseless, _AnnouncementLost, BlockChanged, asyncpg.UniqueViolationError, asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
)  # fmt: skip


class CopiedChunk(NamedTuple):
    """A chunk whose texts are copied early by `copying`, in an open transaction."""

    connection: Connection
    chunk: Chunk
    runs: list[BlockRun]
    growing: Growing
    """The growing blocks once it is stored."""
    copying: asyncio.Task[None]

    async def undo(self) -> None:
        """Roll the transaction back."""
        await asyncio.gather(self.copying, return_exceptions=True)
        if not self.connection.is_closed():
            await self.connection.execute("ROLLBACK")


class ChunkWriter:
    """Stores the chunks of one import, in order."""

    def __init__(
        self, connection: Connection, minters: Minters, program_id: int, import_id: UUID,
        storing: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`storing` is called when a chunk's texts go to the database: half of the time."""
        self._connection = connection
        self._minters = minters
        self._program_id = program_id
        self._storing = storing
        self._import_id = import_id
        self._rows_read: int | None = None
        self._growing: Growing = {}
        # Set while the file has texts that the program already has: then a look-up before the insert pays off.
        self._check_first = False
        self._folds = False
        # For the next block, so that its texts can be copied early. It is larger than those of all blocks so far. Drawn
        # only once chunks are copied early, by who may use the sequence: a console must not.
        self._draws = False
        self._next_block: int | None = None

    async def take(self, chunk: Chunk) -> None:
        """Store the valid candidates of a chunk, and record its bad rows. No chunk may be copied early meanwhile.

        Raises ImportEnded if the import was undone or another process took it over, and ProgramRefused if the program's
        rules forbid it now.
        """
        while True:
            try:
                async with (
                    possible_texts.taking_in(self._connection, self._program_id) as mark,
                    self._connection.transaction(),
                ):
                    growing = await self._take(self._connection, chunk, mark)
            except asyncpg.UniqueViolationError as error:
                if not violates(error, "code_once") or self._check_first:
                    raise
                self._check_first = True
            except (AssignmentTaken, _AnnouncementLost, asyncpg.DeadlockDetectedError):
                continue
            except BlockChanged:
                self._growing = {}
            else:
                self._growing = growing
                self._rows_read = chunk.after + chunk.rows
                return

    def copy_early(self, connection: Connection, chunk: Chunk, before: CopiedChunk | None) -> CopiedChunk | None:
        """Begin to copy a chunk's texts before its turn; None if that can't be done, or would not pay off.

        `before` is the chunk before, if that is copied early and not yet stored.
        """
        self._draws = True
        growing = self._growing if before is None else before.growing
        runs = block_runs(chunk.candidates, growing)
        if self._check_first or not runs or any(run.attached for run in runs):
            return None
        if any(run.at is None for run in runs):
            at, self._next_block = self._next_block, None
            if at is None or sum(run.at is None for run in runs) > 1:
                return None
            runs = [run._replace(at=run.at or BlockPlace(at, 0)) for run in runs]
        copying = asyncio.create_task(self._copy(connection, runs))
        return CopiedChunk(connection, chunk, runs, grown(growing, runs), copying)

    async def store_copied(self, copied: CopiedChunk) -> bool:
        """As `take`, for a chunk whose texts are copied. False: its copy was of no use, and it is to be taken."""
        try:
            await copied.copying
            await self._take(copied.connection, copied.chunk, None, copied)
            await copied.connection.execute("COMMIT")
        except BaseException as error:
            await copied.undo()
            if not isinstance(error, _USELESS):
                raise
            if isinstance(error, BlockChanged):
                self._growing = {}
            self._check_first = violates(error, "code_once")
            return False
        self._growing = copied.growing
        self._rows_read = copied.chunk.after + copied.chunk.rows
        return True

    async def _copy(self, connection: Connection, runs: Sequence[BlockRun]) -> None:
        await connection.execute(_BEGIN_EARLY)
        self._storing()
        await copy_texts(connection, self._program_id, runs)

    async def _take(
        self, connection: Connection, chunk: Chunk, mark: UUID | None, copied: CopiedChunk | None = None
    ) -> Growing:
        """Store a chunk in the current transaction, and return the growing blocks after it."""
        usual = isinstance(chunk.candidates, UsualCandidates)
        if not usual and any(one.profile_id for one in chunk.candidates):
            await hold_deciding_lock(connection)
        row = await connection.fetchrow(_LOCK, self._import_id, self._draws and self._next_block is None)
        if row["state"] != "running" or (self._rows_read is not None and row["rows_read"] != self._rows_read):
            raise ImportEnded
        self._next_block = self._next_block or row["block_id"]
        program = await locked(connection, self._program_id)
        if program is None:
            raise ImportEnded
        if not await possible_texts.may_take_in(connection, program.id, mark):
            raise _AnnouncementLost
        now: datetime = await connection.fetchval("SELECT statement_timestamp()")
        if (reason := closed_reason(program, now)) is not None:
            raise ProgramRefused(
                f"{refusal_fact(program.name, reason, Source.PERSON)} Change that and import the same file "
                f"again: it continues after row {row['rows_read']:,}.",
                reason=reason,
            )
        bad = list(chunk.bad)
        codes = ProgramCodes(connection, self._minters, program.id)
        good = await drop_minted(codes, drop_ended(now, chunk.candidates, bad), bad)
        if self._check_first:
            before = len(good)
            good = await drop_listed(connection, program.id, self._import_id, good, bad)
            self._check_first = len(good) < before
        self._folds = await folded_texts.folds(connection, program.id)
        if self._folds:
            good = await drop_alike(codes, good, bad)
        good = await drop_holders(connection, program, now, good, bad)
        if len(good) > (room := max(0, program.room)):
            bad += [bad_row(one.row, one.text, "over_maximum") for one in good[room:]]
            good = good[:room]
        if copied is not None and len(good) < len(chunk.candidates):
            raise _CopyUseless
        attached, growing = await self._store(connection, program, now, row["started_at"], good, copied)
        counted = Counter(json.loads(row["bad"]))
        counted.update(one.reason for one in bad)
        await self._write_bad_rows(connection, bad)
        await connection.execute(
            _COUNT, self._import_id, len(good), chunk.after + chunk.rows, attached, json.dumps(counted),
            chunk.case_variants, chunk.share,
        )  # fmt: skip
        return growing

    async def _store(
        self,
        connection: Connection,
        program: ProgramRules,
        now: datetime,
        started_at: datetime,
        good: Sequence[Candidate],
        copied: CopiedChunk | None,
    ) -> tuple[int, Growing]:
        """Put codes into blocks; return how many were attached, and the growing blocks after that."""
        if not good:
            return 0, self._growing
        if copied is None:
            runs = await make_blocks(connection, program, self._import_id, now, block_runs(good, self._growing))
            self._next_block = None
            self._storing()
            await copy_texts(connection, program.id, runs)
        else:
            runs = await make_blocks(connection, program, self._import_id, now, copied.runs)
        if self._folds:
            await folded_texts.add(connection, program.id, texts_of(good))
        attached = await self._attach(connection, program, now, started_at, runs)
        await grow_blocks(connection, runs)
        return attached, grown(self._growing, runs)

    async def _attach(
        self,
        connection: Connection,
        program: ProgramRules,
        now: datetime,
        started_at: datetime,
        runs: Sequence[BlockRun],
    ) -> int:
        """Write the answers of codes that are attached on import."""
        codes = []
        for run in runs:
            if not run.attached or run.at is None:
                continue
            ends = expires_at(program, now, run.kind)
            for position, one in enumerate(run.candidates):
                request_id = _request_id(self._import_id, started_at, one.row)
                code = PooledCode(run.at.id, position, one.text, ends, run.kind.fields)
                codes.append((request_id, ManualRequest(one.profile_id, program.name), code))
        await attach_codes(connection, program, now, codes)
        return len(codes)

    async def _write_bad_rows(self, connection: Connection, bad: Sequence[BadRow]) -> None:
        if bad:
            await connection.copy_records_to_table("import_bad_row", records=[(self._import_id, *one) for one in bad])


def _request_id(import_id: UUID, started_at: datetime, row: int) -> UUID:
    """The deterministic request id of a row: time-ordered as a UUID version 7, then the row number."""
    milliseconds = int(started_at.timestamp() * 1_000)
    own = import_id.int & (1 << 42) - 1
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (own >> 30) << 64 | 0b10 << 62 | (own & (1 << 30) - 1) << 32 | row)
