"""Adds very many attachments in the form in which the product stores them, as fast as Postgres can write.

The product creates the program and its blocks; this module adds an answer for each of their codes, packed for COPY a
block at a time, and the blocks' own counts. `codewell audit` finds nothing wrong with the result.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
from asyncpg import Record
from numpy.typing import NDArray

from benchmarks.report import Progress
from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ProgramSettings, TemplateSource

IdVersion = Literal[4, 7]

_COPY_TIMEOUT_S: Final = 3_600
_DIGITS: Final = 10
_TTL: Final = timedelta(days=365)
# Of codes that ended long ago.
_SHORT_TTL: Final = timedelta(days=30)
# The ids begin a year ago, ten a millisecond, and so end well before those of today's requests.
_IDS_BEGIN: Final = timedelta(days=365)
_IDS_A_MS: Final = 10
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
# Header and trailer of a binary COPY.
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL: Final = b"\xff\xff"

_COLUMNS: Final = (
    ("request_id", "V16"), ("ordinal", ">i2"), ("program_id", ">i8"), ("block_id", ">i8"), ("position", ">i8"),
    ("profile_id", f"S{_DIGITS + 2}"), ("code", f"S{_DIGITS + 4}"), ("expires_at", ">i8"), ("answered_at", ">i8"),
)  # fmt: skip
# Each value has its length before it; a row starts with its number of values.
_ROW: Final = np.dtype(
    [("values", ">i2"), *(part for name, kind in _COLUMNS for part in ((f"{name} bytes", ">i4"), (name, kind)))]
)

# As old as the ids.
_AGE: Final = (
    "UPDATE program SET created_at = created_at - $2::interval WHERE id = $1",
    "UPDATE program_history SET held_from = held_from - $2::interval WHERE program_id = $1",
    """
    UPDATE block SET created_at = created_at - $2::interval, expires_at = expires_at - $2::interval
    WHERE program_id = $1
    """,
)
_GIVEN: Final = """
    UPDATE block SET next = size, attached = size, open = false WHERE program_id = $1 AND id = ANY($2::bigint[])
    """

# No row is added to an index that is not ready, and REINDEX makes it so again.
_NOT_READY: Final = "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = 'answer'::regclass"


@asynccontextmanager
async def indexes_afterwards(connection: Connection, said: Progress) -> AsyncIterator[None]:
    """Build the indexes of answers at the end of the block: for very many, a third of the time of adding each to them.

    Only for a superuser, and nothing else may use the table meanwhile. Raises what asyncpg raises.
    """
    await connection.execute(_NOT_READY)
    yield
    said("building the indexes")
    await connection.execute("SET maintenance_work_mem = '1GB'")
    await connection.execute("REINDEX TABLE answer", timeout=_COPY_TIMEOUT_S)
    await connection.execute("RESET maintenance_work_mem")
    await connection.execute("CHECKPOINT", timeout=_COPY_TIMEOUT_S)


async def grow(
    connection: Connection, name: str, count: int, first: int, version: IdVersion, said: Progress, *,
    scatter: bool = False, ended: bool = False,
) -> int:  # fmt: skip
    """Create a program of `count` codes, all attached, with request ids of this version. Returns the program's id.

    `first` is the number already grown in this database: ids, profiles and codes continue from there. Profiles of
    neighbouring codes are no neighbours where they `scatter`. Codes that have `ended` were given a year ago,
    for a month. Raises what asyncpg raises.
    """
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template="{string 4}-{number 4}-{upstring 4}"),
        codes_max=count,
        pool_max=count,
        ttl=_SHORT_TTL if ended else _TTL,
        # With this many codes, codes of the template could be guessed, which is not measured here.
        allow_guessable=True,
    )
    minters = Minters(None)
    program = await programs.create(connection, minters, settings, guesses_per_s=10)
    await fill.generate(connection, minters, program.id, count, None)
    if ended:
        for statement in _AGE:
            await connection.execute(statement, program.id, _IDS_BEGIN)
    blocks = await connection.fetch(
        "SELECT id, program_id, size, created_at, expires_at FROM block WHERE program_id = $1 ORDER BY id", program.id
    )
    await connection.execute("SET synchronous_commit = off")
    began = time.perf_counter()
    columns = [column for column, _ in _COLUMNS]
    done = 0
    async for block, source in _packed(blocks, first, version, scatter=scatter):
        async with connection.transaction():
            await connection.copy_to_table(
                "answer", source=source, columns=columns, format="binary", timeout=_COPY_TIMEOUT_S
            )
            await connection.execute(_GIVEN, program.id, [block["id"]])
        done += block["size"]
        if done // 1_000_000 != (done - block["size"]) // 1_000_000:
            said(f"{name}: {done:,} of {count:,}, {done / (time.perf_counter() - began):,.0f} a second")
    await connection.execute("RESET synchronous_commit")
    await connection.execute("VACUUM ANALYZE answer", timeout=_COPY_TIMEOUT_S)
    await connection.execute("VACUUM ANALYZE block")
    await connection.execute("CHECKPOINT", timeout=_COPY_TIMEOUT_S)
    return program.id


def scattered(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Other numbers for these, below 10^10: different ones in no order."""
    return numbers * 2_654_435_761 % 10**_DIGITS


async def _packed(
    blocks: Sequence[Record], first: int, version: IdVersion, *, scatter: bool
) -> AsyncIterator[tuple[Record, memoryview]]:
    """Each block with its rows for COPY. A thread packs the next ones meanwhile."""
    packing: list[tuple[Record, asyncio.Task[memoryview]]] = []
    for block in blocks:
        packing.append((block, asyncio.create_task(asyncio.to_thread(_pack, block, first, version, scatter=scatter))))
        first += block["size"]
        if len(packing) > 1:
            ahead, task = packing.pop(0)
            yield ahead, await task
    for ahead, task in packing:
        yield ahead, await task


def _pack(block: Record, first: int, version: IdVersion, *, scatter: bool) -> memoryview:
    rows = _rows(first, block["size"], version, scatter=scatter)
    rows["program_id"], rows["block_id"] = block["program_id"], block["id"]
    rows["expires_at"], rows["answered_at"] = _moment(block["expires_at"]), _moment(block["created_at"])
    return memoryview(_HEAD + rows.tobytes() + _TAIL)


def _rows(first: int, count: int, version: IdVersion, *, scatter: bool) -> NDArray[np.void]:
    rows = np.zeros(count, _ROW)
    rows["values"] = len(_COLUMNS)
    for name, kind in _COLUMNS:
        rows[f"{name} bytes"] = np.dtype(kind).itemsize
    numbers = np.arange(first, first + count, dtype=np.int64)
    rows["request_id"] = _ids(numbers, version).view("V16").reshape(count)
    rows["position"] = np.arange(count)
    profiles = scattered(numbers) if scatter else numbers
    for column, head, values in (("profile_id", b"p-", profiles), ("code", b"old-", numbers)):
        digits = (values[:, None] // 10 ** np.arange(_DIGITS - 1, -1, -1) % 10 + ord("0")).astype(np.uint8)
        heads = np.broadcast_to(np.frombuffer(head, np.uint8), (count, len(head)))
        text = np.ascontiguousarray(np.concatenate([heads, digits], axis=1))
        rows[column] = text.view(f"S{text.shape[1]}").reshape(count)
    return rows


def _ids(numbers: NDArray[np.int64], version: IdVersion) -> NDArray[np.uint8]:
    """UUIDs as 16 bytes each: version 4, or version 7 in ascending order."""
    ids = np.random.default_rng().integers(0, 256, (len(numbers), 16), np.uint8)
    if version == 7:
        begin_ms = int(
            (datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - _IDS_BEGIN).timestamp() * 1000
        )
        milliseconds = (begin_ms + numbers // _IDS_A_MS).astype(">i8").view(np.uint8).reshape(-1, 8)
        ids[:, :6] = milliseconds[:, 2:]
        fractions = numbers % _IDS_A_MS * (4096 // _IDS_A_MS)
        ids[:, 6], ids[:, 7] = fractions >> 8, fractions & 0xFF
    ids[:, 6] = ids[:, 6] & 0x0F | version << 4
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    return ids


def _moment(moment: datetime) -> int:
    """The time in Postgres' format: microseconds since 2000-01-01."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
