"""Exports all codes of a program as CSV, from one snapshot, in constant memory.

Postgres writes the lines of attached codes and of codes that are stored as texts. This process mints the codes that
were never attached, because no table stores their texts. Minted codes come first, some blocks at a time, with the
attached ones of those blocks before the others; list blocks come last.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg

from codewell.codes.state import EXPIRES_AT, FIELDS, STATE_IN_SNAPSHOT
from codewell.errors import StackUnavailable
from codewell.files import csv_writer
from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter
from codewell.pool.block_rules import UNEXPIRED_IN_SNAPSHOT
from codewell.pool.minter_cache import Minters
from schemas.program import Program, State

# Time limit of an export (s). Its snapshot prevents vacuum from removing rows that have died since.
TIMEOUT_S: Final = 3_600
# The server's idle limit (s). It exceeds TIMEOUT_S, so the server ends only exports of frozen processes.
_IDLE_TIMEOUT_S: Final = TIMEOUT_S + 60
COLUMNS: Final = ("code", "state", "profile_id", "attached_at", "activated_at", "expires_at", "deleted_at")

_BLOCKS_AT_ONCE: Final = 50
# Codes minted before the export yields to the event loop: some milliseconds.
_RUN_MAX: Final = 8_000

Write = Callable[[bytes], Awaitable[None]]

_BLOCKS: Final = f"""
    SELECT id, version, first, size, next, expires_at, fields, NOT {UNEXPIRED_IN_SNAPSHOT} AS over
    FROM block WHERE program_id = $1 AND kind = $2 ORDER BY version, first, id
    """  # noqa: S608  a constant
# Holes. The line of an attached code comes from _GIVEN, that of a moved code from its new block (`elsewhere`).
_HOLES: Final = """
    SELECT s.block_id, s.position, s.deleted_at, a.block_id IS NOT NULL OR s.returned_at IS NOT NULL AS elsewhere
    FROM code_state s LEFT JOIN answer a ON a.block_id = s.block_id AND a.position = s.position AND NOT a.again
    WHERE s.block_id = ANY($1::bigint[]) AND s.hole
    """

# {blocks} are integers, so formatting is safe. COPY takes no parameters; asyncpg would have the server quote them.
_GIVEN: Final = """
    SELECT {columns} FROM answer a JOIN block b ON b.id = a.block_id
    LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position {profile}
    WHERE a.block_id = ANY('{{{blocks}}}'::bigint[]) AND NOT a.again AND s.returned_at IS NULL AND {condition}
    """
_LISTED: Final = """
    SELECT {columns} FROM code c JOIN block b ON b.id = c.block_id
    LEFT JOIN answer a ON a.block_id = c.block_id AND a.position = c.position AND NOT a.again
    LEFT JOIN code_state s ON s.block_id = c.block_id AND s.position = c.position {profile}
    WHERE c.block_id = ANY('{{{blocks}}}'::bigint[]) AND s.returned_at IS NULL AND {condition}
    """
_PROFILE: Final = "LEFT JOIN profile p ON p.profile_id = a.profile_id"


class ExportOptions(NamedTuple):
    """Options of an export: one state or all (None), and profile fields to add as columns."""

    state: State | None = None
    profile_fields: Sequence[str] = ()
    """Short names without duplicates."""
    raw: bool = False
    """Don't escape cells that a spreadsheet would run as formulas."""


async def export(
    connection: Connection, minters: Minters, program: Program, wanted: ExportOptions, write: Write
) -> int:
    """Write the program's codes as UTF-8 CSV, some kilobytes for each call of `write`, and return how many.

    The export shows the database at its start and takes no row locks. Raises StackUnavailable when it takes longer
    than TIMEOUT_S, and what `write` raises. After an error the output is incomplete and the connection is closed.
    """
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await transaction.start()
            # Between two statements there may be many codes to mint and a slow reader.
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_S}s'")
            count = await _Export(connection, minters, program, wanted, write).run()
            await transaction.commit()
    except BaseException as error:
        # Close the connection instead of waiting for an interrupted COPY: the server notices the lost connection.
        connection.terminate()
        if not isinstance(error, TimeoutError):
            raise
        raise StackUnavailable(
            f"The export of {program.name} was stopped after {TIMEOUT_S // 60} minutes: export one state at a time, or "
            "read it faster."
        ) from error
    return count


class _Export:
    def __init__(
        self, connection: Connection, minters: Minters, program: Program, wanted: ExportOptions, write: Write
    ) -> None:
        self._connection = connection
        self._minters = minters
        self._program = program
        self._wanted = wanted
        self._write = write
        self._custom = [field.name for field in program.fields if field.save]
        self._count = 0

    async def run(self) -> int:
        custom = [f"fields.{name}" for name in self._custom]
        profile = [f"profile.{name}" for name in self._wanted.profile_fields]
        await self._write(csv_writer.csv_line([*COLUMNS, *custom, *profile], raw=True).encode())
        for kind, of_blocks in (("range", self._ranges), ("list", self._lists)):
            blocks = await self._connection.cursor(_BLOCKS, self._program.id, kind)
            while group := await blocks.fetch(_BLOCKS_AT_ONCE):
                await of_blocks(group)
        return self._count

    async def _ranges(self, blocks: Sequence[asyncpg.Record]) -> None:
        ids = [block["id"] for block in blocks]
        if self._wanted.state != "pooled":
            await self._copy(_GIVEN, "a.code", ids)
        holes: defaultdict[int, dict[int, datetime | None]] = defaultdict(dict)
        for block_id, position, deleted_at, elsewhere in await self._connection.fetch(_HOLES, ids):
            holes[block_id][position] = None if elsewhere else deleted_at
        for block in blocks:
            minter = await self._minters.get(self._connection, self._program.id, block["version"])
            for lines in self._minted(minter, block, holes.get(block["id"], {})):
                if lines:
                    await self._write(lines)
                # Yield to the event loop: with a fast reader `write` never blocks, and other tasks would starve.
                await asyncio.sleep(0)

    async def _lists(self, blocks: Sequence[asyncpg.Record]) -> None:
        await self._copy(_LISTED, "c.text", [block["id"] for block in blocks])

    async def _copy(self, sql: str, text: str, block_ids: Sequence[int]) -> None:
        """Let Postgres write the lines of the stored codes of these blocks."""
        columns = [
            text, STATE_IN_SNAPSHOT, "a.profile_id", _moment("a.answered_at"), _moment("s.activated_at"),
            _moment(EXPIRES_AT), _moment("s.deleted_at"),
            *(_member(FIELDS, name) for name in self._custom),
            *(_member("p.fields", name) for name in self._wanted.profile_fields),
        ]  # fmt: skip
        query = sql.format(
            columns=", ".join(columns),
            blocks=",".join(map(str, block_ids)),
            condition="true" if self._wanted.state is None else f"{STATE_IN_SNAPSHOT} = '{self._wanted.state}'",
            profile=_PROFILE if self._wanted.profile_fields else "",
        )

        async def took(copied: bytes) -> None:
            await self._write(csv_writer.rewrite_copy_output(copied, self._wanted.raw))

        said = await self._connection.copy_from_query(query, output=took, format="csv", timeout=TIMEOUT_S)
        self._count += int(said.split()[-1])

    def _minted(self, minter: Minter, block: asyncpg.Record, holes: Mapping[int, datetime | None]) -> Iterator[bytes]:
        """Yield the lines of a block's never attached codes: pooled ones, and those deleted from the pool.

        `holes` maps positions to the time of deletion; None for codes whose line another part writes.
        """
        state: State = "expired" if block["over"] else "pooled"
        shows_pool, shows_deleted = (self._wanted.state in {None, one} for one in (state, "deleted"))
        deleted = {position: at for position, at in holes.items() if at is not None} if shows_deleted else {}
        left = range(block["next"], block["size"] if shows_pool else block["next"])
        for start in _starts(left, deleted):
            run = range(start, min(start + _RUN_MAX, block["size"]))
            texts = minter.mint(block["first"] + run.start, len(run))
            pooled = texts
            if holes or run.start < left.start or not left:
                pooled = [text for place, text in zip(run, texts, strict=True) if place in left and place not in holes]
            yield csv_writer.csv_lines(pooled, self._rest(block, state, None), self._wanted.raw)
            gone = [place for place in run if place in deleted] if deleted else []
            for place in gone:
                rest = self._rest(block, "deleted", deleted[place])
                yield csv_writer.csv_lines([texts[place - run.start]], rest, self._wanted.raw)
            self._count += len(pooled) + len(gone)

    def _rest(self, block: asyncpg.Record, state: State, deleted_at: datetime | None) -> list[str]:
        """The cells after the text, for a code that was never attached."""
        fields: dict[str, Any] = json.loads(block["fields"] or "{}")
        moments = ["", "", _written(block["expires_at"]), _written(deleted_at)]
        return [
            state,
            "",
            *moments,
            *(fields.get(name, "") for name in self._custom),
            *("" for _ in self._wanted.profile_fields),
        ]


def _starts(left: range, marked: Iterable[int]) -> list[int]:
    """Start positions of the runs that have lines to write."""
    starts = {position - position % _RUN_MAX for position in marked}
    if left:
        starts.update(range(left.start - left.start % _RUN_MAX, left.stop, _RUN_MAX))
    return sorted(starts)


def _moment(sql: str) -> str:
    return f"""to_char(({sql}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _written(moment: datetime | None) -> str:
    """A time in the format of `_moment`."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _member(json_sql: str, name: str) -> str:
    literal = name.replace("'", "''")
    return f"({json_sql})->>'{literal}'"
