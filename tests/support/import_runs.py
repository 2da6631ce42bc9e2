"""Imports files into programs as the command line and the console do."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from codewell.files.limits import FileLimits
from codewell.files.scan import Scan, scan
from codewell.files.table import open_table
from codewell.imports import imports, run
from codewell.imports.candidates import Chunk
from codewell.imports.chunk_writer import ChunkWriter
from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.imports import Import, ImportOptions, Reading


def no_progress(_: int) -> None:
    """Reports progress to no one."""


def read_file(path: Path, options: ImportOptions) -> tuple[Scan, Reading]:
    """What a file is, and how it is read."""
    scanned = scan(path, FileLimits())
    with open_table(path, scanned, options, FileLimits()) as table:
        return scanned, table.reading


Action = Callable[[Connection], Awaitable[Any]]


def before_chunks(monkeypatch: pytest.MonkeyPatch) -> dict[int, Action]:
    """What is done once, before the chunk after this row is stored, with its connection. The caller fills it."""
    actions: dict[int, Action] = {}
    take = ChunkWriter._take

    async def take_in_turn(writer: ChunkWriter, connection: Connection, chunk: Chunk, *more: Any) -> Any:
        if chunk.after in actions:
            await actions.pop(chunk.after)(connection)
        return await take(writer, connection, chunk, *more)

    monkeypatch.setattr(ChunkWriter, "_take", take_in_turn)
    return actions


class Files:
    """Imports files into SPRING: with a URL over two connections as the command line, else over one as the console."""

    def __init__(self, connection: Connection, minters: Minters, directory: Path, url: str | None = None) -> None:
        self.connection = connection
        self.connect: run.Connect | None = None if url is None else lambda: postgres.connection(url, "test")
        self.minters = minters
        self.path = directory / "codes.csv"

    async def begin(self, content: str | bytes, **options: Any) -> Import:
        """Write the file and start its import, or find the one that is unfinished."""
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        given = ImportOptions(**options)
        program = await programs.get(self.connection, "SPRING")
        imports.check_program(program, given)
        scanned, reading = read_file(self.path, given)
        return await imports.start_import(
            self.connection, uuid7(), program, "codes.csv", scanned, given, reading, uploaded=False
        )

    async def go_on(
        self, begun: Import, connection: Connection | None = None, limits: FileLimits | None = None
    ) -> Import:
        """Import the rest of it."""
        return await run.import_file(
            connection or self.connection, self.minters, begun.id, self.path, scan(self.path, FileLimits()),
            limits or FileLimits(), no_progress, connect=self.connect,
        )  # fmt: skip

    async def bring_in(self, content: str | bytes, limits: FileLimits | None = None, **options: Any) -> Import:
        """Import a whole file."""
        return await self.go_on(await self.begin(content, **options), limits=limits)

    async def bad(self, done: Import) -> list[tuple[int, str, str]]:
        """Its rejected rows."""
        return [(one.row, one.text, one.reason) for one in await imports.bad_rows(self.connection, done.id, 0)]

    async def texts(self) -> list[str]:
        """All texts of list blocks, in the order of the file."""
        rows = await self.connection.fetch("SELECT text FROM code ORDER BY block_id, position")
        return [row["text"] for row in rows]


def lines(texts: Sequence[str]) -> str:
    """A file with a column of codes only."""
    return "".join(f"{text}\n" for text in texts)
