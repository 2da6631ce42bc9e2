"""Stores the chunks of a file: each chunk's codes, counters, bad rows and progress in one transaction.

A chunk locks the program's row while it is stored, some 50 ms, so that a text enters the program once and the maximum
holds; claims don't lock that row. Its blocks grow in the last step before the commit, so that claims skip the locked
blocks only for that long.
"""

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
from codewell.imports.candidates import BadRow, BlockAttributes, Candidate, Chunk, bad_row, first_of_each
from codewell.imports.known_texts import drop_alike, drop_listed, drop_minted
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.constraints import violates
from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.assignments import AssignmentTaken, assigned_codes
from codewell.issuing.attach import attach_codes
from codewell.issuing.model import ManualRequest, PooledCode
from codewell.pool import copy_codes, folded_texts
from codewell.pool.expiry import expiry_in_pool
from codewell.pool.fill import locked
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules, Source, closed_reason, refusal_fact
from codewell.profiles.deciding_lock import hold_deciding_lock

BLOCK_CODES_MAX: Final = 100_000
# A crash of the server may lose the last chunks, from which the import goes on; its end waits for the disk.
_LOCK: Final = """
    SELECT state, rows_read, bad, started_at, set_config('synchronous_commit', 'off', true) FROM import WHERE id = $1
    FOR NO KEY UPDATE
    """

_NEW_BLOCKS: Final = """
    INSERT INTO block (program_id, kind, size, next, attached, open, expires_at, fields, origin, import_id, created_at)
    SELECT $1, 'list', b.size, b.given, b.given, b.given = 0, b.expires_at, b.fields, 'import', $2, $3
    FROM unnest($4::bigint[], $5::bigint[], $6::timestamptz[], $7::jsonb[])
        WITH ORDINALITY AS b (size, given, expires_at, fields, n) ORDER BY b.n
    RETURNING id
    """

# A block that claims have emptied meanwhile is closed, and stays closed.
_GROW: Final = """
    UPDATE block SET size = size + g.more FROM unnest($1::bigint[], $2::bigint[]) AS g (id, more)
    WHERE block.id = g.id AND open
    """

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


class _BlockClosed(Exception):
    """Claims emptied a block that was about to grow."""


class _AnnouncementLost(Exception):
    """The announcement that this program imports texts was lost: caches may still assume that it has none."""


class _GrowingBlock(NamedTuple):
    """A block to which codes with its attributes are appended."""

    id: int
    size: int


class _BlockRun(NamedTuple):
    """Codes that go into one block, in order."""

    kind: BlockAttributes
    attached: bool
    candidates: list[Candidate]


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
        self._growing: dict[BlockAttributes, _GrowingBlock] = {}
        # Set while the file has texts that the program already has: then a look-up before the insert pays off.
        self._check_first = False
        self._folds = False

    async def take(self, chunk: Chunk) -> None:
        """Store the valid candidates of a chunk, and record its bad rows.

        Raises ImportEnded if the import was undone or another process took it over, and ProgramRefused if the program's
        rules forbid it now.
        """
        while True:
            growing = dict(self._growing)
            try:
                async with (
                    possible_texts.taking_in(self._connection, self._program_id) as mark,
                    self._connection.transaction(),
                ):
                    await self._take(chunk, growing, mark)
            except asyncpg.UniqueViolationError as error:
                if not violates(error, "code_once") or self._check_first:
                    raise
                self._check_first = True
            except (AssignmentTaken, _AnnouncementLost):
                continue
            except _BlockClosed:
                self._growing.clear()
            else:
                self._growing = growing
                self._rows_read = chunk.after + chunk.rows
                return

    async def _take(self, chunk: Chunk, growing: dict[BlockAttributes, _GrowingBlock], mark: UUID | None) -> None:
        if any(one.profile_id for one in chunk.candidates):
            await hold_deciding_lock(self._connection)
        row = await self._connection.fetchrow(_LOCK, self._import_id)
        if row["state"] != "running" or (self._rows_read is not None and row["rows_read"] != self._rows_read):
            raise ImportEnded
        program = await locked(self._connection, self._program_id)
        if program is None:
            raise ImportEnded
        if not await possible_texts.may_take_in(self._connection, program.id, mark):
            raise _AnnouncementLost
        now: datetime = await self._connection.fetchval("SELECT statement_timestamp()")
        if (reason := closed_reason(program, now)) is not None:
            raise ProgramRefused(
                f"{refusal_fact(program.name, reason, Source.PERSON)} Change that and import the same file "
                f"again: it continues after row {row['rows_read']:,}.",
                reason=reason,
            )
        bad = list(chunk.bad)
        good = first_of_each(chunk.candidates, bad)
        good = await drop_minted(ProgramCodes(self._connection, self._minters, program.id), good, bad)
        if self._check_first:
            before = len(good)
            good = await drop_listed(self._connection, program.id, self._import_id, good, bad)
            self._check_first = len(good) < before
        self._folds = await folded_texts.folds(self._connection, program.id)
        if self._folds:
            good = await drop_alike(ProgramCodes(self._connection, self._minters, program.id), good, bad)
        room = max(0, program.room)
        good = await self._drop_holders(program, now, good, bad)
        bad, good = [*bad, *(bad_row(one.row, one.text, "over_maximum") for one in good[room:])], good[:room]
        attached = await self._store(program, now, row["started_at"], good, growing) if good else 0
        counted = Counter(json.loads(row["bad"]))
        counted.update(one.reason for one in bad)
        await self._write_bad_rows(bad)
        await self._connection.execute(
            _COUNT,
            self._import_id,
            len(good),
            chunk.after + chunk.rows,
            attached,
            json.dumps(counted),
            chunk.case_variants,
            chunk.share,
        )

    async def _drop_holders(
        self, program: ProgramRules, now: datetime, good: list[Candidate], bad: list[BadRow]
    ) -> list[Candidate]:
        """Drop codes for profiles that hold a code of a program that gives the same code again."""
        if not program.reuses_codes:
            return good
        keys = {
            one.row: assignment_key(program, ManualRequest(one.profile_id, program.name))
            for one in good
            if one.profile_id
        }
        held = await assigned_codes(self._connection, list(set(keys.values())))
        taken = {key for key, code in held.items() if code.lives_at(now)}
        left = []
        for one in good:
            key = keys.get(one.row)
            if key is not None and key in taken:
                bad.append(bad_row(one.row, one.text, "profile_has_code"))
                continue
            if key is not None:
                taken.add(key)
            left.append(one)
        return left

    async def _store(
        self,
        program: ProgramRules,
        now: datetime,
        started_at: datetime,
        good: list[Candidate],
        growing: dict[BlockAttributes, _GrowingBlock],
    ) -> int:
        """Insert codes into blocks, and return how many were attached."""
        runs = _runs(good)
        grown = [
            not run.attached and run.kind in growing and growing[run.kind].size + len(run.candidates) <= BLOCK_CODES_MAX
            for run in runs
        ]
        ids = iter(
            await self._new_blocks(program, now, [run for run, grows in zip(runs, grown, strict=True) if not grows])
        )
        placed: list[tuple[_BlockRun, int, int]] = []
        grow: list[tuple[int, int]] = []
        for run, grows in zip(runs, grown, strict=True):
            block_id, first = growing[run.kind] if grows else (next(ids), 0)
            placed.append((run, block_id, first))
            if grows:
                grow.append((block_id, len(run.candidates)))
            if not run.attached:
                growing[run.kind] = _GrowingBlock(block_id, first + len(run.candidates))
        texts = [(block_id, first, [one.text for one in run.candidates]) for run, block_id, first in placed]
        source = copy_codes.stream(program.id, texts)
        self._storing()
        await self._connection.copy_to_table("code", source=source, columns=copy_codes.COLUMNS, format="binary")
        if self._folds:
            await folded_texts.add(self._connection, program.id, [one.text for one in good])
        attached = await self._attach(program, now, started_at, placed)
        if grow:
            done = await self._connection.execute(_GROW, [one[0] for one in grow], [one[1] for one in grow])
            if done != f"UPDATE {len(grow)}":
                raise _BlockClosed
        return attached

    async def _new_blocks(self, program: ProgramRules, now: datetime, runs: Sequence[_BlockRun]) -> list[int]:
        if not runs:
            return []
        sizes = [len(run.candidates) for run in runs]
        given = [len(run.candidates) if run.attached else 0 for run in runs]
        rows = await self._connection.fetch(
            _NEW_BLOCKS, program.id, self._import_id, now, sizes, given,
            [_expires_at(program, now, run.kind) for run in runs], [run.kind.fields for run in runs],
        )  # fmt: skip
        return [row["id"] for row in rows]

    async def _attach(
        self, program: ProgramRules, now: datetime, started_at: datetime, placed: Sequence[tuple[_BlockRun, int, int]]
    ) -> int:
        """Write the answers of codes that are attached on import."""
        codes = []
        for run, block_id, _ in placed:
            if not run.attached:
                continue
            expires_at = _expires_at(program, now, run.kind)
            for position, one in enumerate(run.candidates):
                request_id = _request_id(self._import_id, started_at, one.row)
                code = PooledCode(block_id, position, one.text, expires_at, run.kind.fields)
                codes.append((request_id, ManualRequest(one.profile_id, program.name), code))
        await attach_codes(self._connection, program, now, codes)
        return len(codes)

    async def _write_bad_rows(self, bad: Sequence[BadRow]) -> None:
        if bad:
            await self._connection.copy_records_to_table(
                "import_bad_row", records=[(self._import_id, *one) for one in bad]
            )


def _runs(good: Sequence[Candidate]) -> list[_BlockRun]:
    """Group codes by the attributes of their block, in file order."""
    runs: dict[tuple[BlockAttributes, bool], list[Candidate]] = {}
    for one in good:
        runs.setdefault((one.kind, one.profile_id != ""), []).append(one)
    return [_BlockRun(kind, attached, candidates) for (kind, attached), candidates in runs.items()]


def _expires_at(program: ProgramRules, now: datetime, kind: BlockAttributes) -> datetime | None:
    # An expiry from the file is an explicit choice: it may be later than the program's lifetime allows.
    return expiry_in_pool(program, now, kind.expires_at, own_replaces_ttl=True)


def _request_id(import_id: UUID, started_at: datetime, row: int) -> UUID:
    """The deterministic request id of a row: time-ordered as a UUID version 7, then the row number."""
    milliseconds = int(started_at.timestamp() * 1_000)
    own = import_id.int & (1 << 42) - 1
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (own >> 30) << 64 | 0b10 << 62 | (own & (1 << 30) - 1) << 32 | row)
