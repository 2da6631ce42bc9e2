"""Exports all codes of a program as CSV, in pieces and in constant memory.

A piece is read in one read-only transaction. Postgres writes the lines of attached codes and of codes that are stored
as texts. This process mints the codes that were never attached, because no table stores their texts, and does so after
the transaction. Minted codes come first, list blocks last.

With a connection for all pieces (`of_one_moment`), an export is one snapshot. With one for each piece, a reader never
holds a connection, however slowly it takes the lines. Then each line is of the moment at which its piece was read, and
every code that existed at the start and was not taken away is there. A code that goes back to the pool meanwhile moves
to a block that is read later: it may have a second, newer line, but is never left out. Codes made after the start are
not there.
"""

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg

from codewell.codes.export_pieces import PIECE_BYTES, Piece, PieceReader, Span
from codewell.errors import StackUnavailable
from codewell.files import csv_writer
from codewell.infra.postgres.connection import Connection
from codewell.minting.minter import Minter
from codewell.pool.minter_cache import Minters
from schemas.program import Program, State

# Time limit of an export (s). A snapshot that it keeps prevents vacuum from removing rows that have died since.
TIMEOUT_S: Final = 3_600
# The server's idle limit (s). It exceeds TIMEOUT_S, so the server ends only exports of frozen processes.
_IDLE_TIMEOUT_S: Final = TIMEOUT_S + 60
COLUMNS: Final = ("code", "state", "profile_id", "attached_at", "activated_at", "expires_at", "deleted_at")
# Codes minted before the export yields to the event loop: some milliseconds.
_RUN_MAX: Final = 8_000

Write = Callable[[bytes], Awaitable[None]]
Connections = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens the connection for one piece; it is closed again before the piece is written."""


class ExportOptions(NamedTuple):
    """Options of an export: one state or all (None), and profile fields to add as columns."""

    state: State | None = None
    profile_fields: Sequence[str] = ()
    """Short names without duplicates."""
    raw: bool = False
    """Don't escape cells that a spreadsheet would run as formulas."""
    excel: bool = False
    """Begin with a byte order mark, without which Excel takes UTF-8 for a code page."""


@asynccontextmanager
async def of_one_moment(connection: Connection) -> AsyncIterator[Connections]:
    """One connection for all pieces of an export, which then shows the database at its start. Takes no row locks."""

    @asynccontextmanager
    async def same() -> AsyncIterator[Connection]:
        yield connection

    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        # Between two statements there may be many codes to mint and a slow reader.
        await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_S}s'")
        yield same
        await transaction.commit()
    except BaseException:
        # Close the connection instead of waiting for an interrupted COPY: the server notices the lost connection.
        connection.terminate()
        raise


async def export(
    connections: Connections, minters: Minters, program: Program, wanted: ExportOptions, write: Write
) -> int:
    """Write the program's codes as UTF-8 CSV, some kilobytes for each call of `write`, and return how many.

    Raises StackUnavailable when it takes longer than TIMEOUT_S, and what `write` raises; then the output is incomplete.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _Export(connections, minters, program, wanted, write).run()
    except TimeoutError as error:
        raise StackUnavailable(
            f"The export of {program.name} was stopped after {TIMEOUT_S // 60} minutes: export one state at a time, or "
            "read it faster."
        ) from error


class _Export:
    def __init__(
        self, connections: Connections, minters: Minters, program: Program, wanted: ExportOptions, write: Write
    ) -> None:
        self._connections = connections
        self._minters = minters
        self._program = program
        self._wanted = wanted
        self._write = write
        self._custom = [field.name for field in program.fields if field.save]
        self._reader = PieceReader(program.id, wanted.state, self._custom, wanted.profile_fields)
        self._count = 0

    async def run(self) -> int:
        custom = [f"fields.{name}" for name in self._custom]
        profile = [f"profile.{name}" for name in self._wanted.profile_fields]
        head = csv_writer.csv_line([*COLUMNS, *custom, *profile], self._wanted.raw).encode()
        await self._write(BOM_UTF8 + head if self._wanted.excel else head)
        while True:
            async with self._connections() as connection:
                piece, minters = await self._read(connection)
            if piece is None:
                return self._count
            await self._write_piece(piece, minters)

    async def _read(self, connection: Connection) -> tuple[Piece | None, Mapping[int, Minter]]:
        """The next piece, and the minters of its template versions."""
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                piece = await self._reader.read(connection)
                spans = piece.spans if piece is not None and piece.is_range else []
                versions = {span.block["version"] for span in spans}
                get = self._minters.get
                return piece, {version: await get(connection, self._program.id, version) for version in versions}
        except asyncio.CancelledError:
            # Waiting for an interrupted COPY could take long: the server notices the lost connection.
            connection.terminate()
            raise

    async def _write_piece(self, piece: Piece, minters: Mapping[int, Minter]) -> None:
        if piece.stored:
            await self._write(csv_writer.rewrite_copy_output(piece.stored, self._wanted.raw))
        self._count += piece.stored_codes
        for span in piece.spans if piece.is_range else ():
            holes = piece.holes.get(span.block["id"], {})
            for lines in self._minted(minters[span.block["version"]], span, holes):
                if lines:
                    await self._write(lines)
                # Yield to the event loop: with a fast reader `write` never blocks, and other tasks would starve.
                await asyncio.sleep(0)

    def _minted(self, minter: Minter, span: Span, holes: Mapping[int, datetime | None]) -> Iterator[bytes]:
        """Yield the lines of a span's never attached codes: pooled ones, and those deleted from the pool.

        `holes` maps positions to the time of deletion; None for codes whose line another part writes.
        """
        block = span.block
        voided_at = block["voided_at"]
        state: State = "deleted" if voided_at else "expired" if block["over"] else "pooled"
        shows_pool, shows_deleted = (self._wanted.state in {None, one} for one in (state, "deleted"))
        deleted = {position: at for position, at in holes.items() if at is not None} if shows_deleted else {}
        taken = max(span.first, min(block["next"], span.end))
        left = range(taken, span.end if shows_pool else taken)
        # Their other cells may be large, and each line has them.
        rest = self._rest(block, state, voided_at)
        run_max = min(_RUN_MAX, 1 + PIECE_BYTES // len(csv_writer.csv_line(rest).encode()))
        for start in _starts(left, deleted, run_max):
            run = range(max(start, span.first), min(start + run_max, span.end))
            texts = minter.mint(block["first"] + run.start, len(run))
            pooled = texts
            if holes or run.start < left.start or not left:
                pooled = [text for place, text in zip(run, texts, strict=True) if place in left and place not in holes]
            yield csv_writer.csv_lines(pooled, rest, self._wanted.raw)
            gone = [place for place in run if place in deleted] if deleted else []
            for place in gone:
                own = self._rest(block, "deleted", deleted[place])
                yield csv_writer.csv_lines([texts[place - run.start]], own, self._wanted.raw)
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


def _starts(left: range, marked: Iterable[int], run_max: int) -> list[int]:
    """Start positions of the runs that have lines to write."""
    starts = {position - position % run_max for position in marked}
    if left:
        starts.update(range(left.start - left.start % run_max, left.stop, run_max))
    return sorted(starts)


def _written(moment: datetime | None) -> str:
    """A time in the format of the lines that Postgres writes."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
