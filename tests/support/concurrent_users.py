"""Concurrent users that change the codes of two programs: SPRING with a template, DISTANT with a remote service.

Each user's actions are random. A refusal by a program is no fault; any other error fails.
"""

import asyncio
import csv
import io
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from codewell.codes import lifecycle, listing
from codewell.codes.export import ExportOptions, export, of_one_moment
from codewell.codes.lookup import START
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, RemoteFailed, StackUnavailable
from codewell.files.limits import FileLimits
from codewell.imports import imports, run, undo
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import assigned, manual
from codewell.issuing.claim import Claims
from codewell.pool import fill
from codewell.pool.fill_many import top_up_many
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import overview, programs
from codewell.redemption import till
from codewell.redemption.model import Step, TillRequest
from codewell.remote import order_leases
from schemas.imports import ImportOptions
from tests.support import remote_programs
from tests.support.factories import message
from tests.support.import_runs import no_progress, read_file

NAMES: Final = ("SPRING", "DISTANT")
_PROFILES: Final = [f"p-{number}" for number in range(80)]
_LEASE_S: Final = 60.0
# As a change of many codes does it: what the block's expiry was is noted while the block is locked.
_EXPIRE: Final = """
    WITH chosen AS (
        SELECT id, program_id, expires_at FROM block WHERE open AND program_id = $1 ORDER BY random() LIMIT 1 FOR UPDATE
    ), change AS (
        INSERT INTO bulk_change (id, program_id, state, void, total, items, actor)
        SELECT gen_random_uuid(), program_id, 'done', false, 0, 1, 'ana' FROM chosen RETURNING id
    ), noted AS (
        INSERT INTO bulk_change_item (change_id, number, block_id, outcome, codes, old_expires_at)
        SELECT change.id, 0, chosen.id, 'changed', 0, chosen.expires_at FROM chosen, change
    )
    UPDATE block SET expires_at = now() - interval '10 s' FROM chosen WHERE block.id = chosen.id
    """


class Everybody:
    """Users that share a connection pool and learn of one another only from the database."""

    def __init__(self, connections: Pool, directory: Path) -> None:
        self._connections = connections
        self._directory = directory
        self._minters = Minters(None)
        self._ids: dict[str, int] = {}
        self._random = random.Random(2)
        self._numbers = count()
        self._imports: list[UUID] = []
        self._seen: list[tuple[str, str]] = []
        self.done: Counter[str] = Counter()
        """Counts of the actions by name."""

    async def work(self, files: int) -> None:
        """Import `files` files, two at a time, and repeat all other actions until they are imported."""
        async with self._connections.acquire() as connection:
            self._ids = {name: (await programs.get(connection, name)).id for name in NAMES}
        importing_them = asyncio.gather(*(self._repeat(self._bring_in, files // 2, None) for _ in range(2)))
        often = (self._claim, self._live, self._live, self._activate_many)
        steps = (
            self._fill, self._seldom, self._seldom, self._order, self._order, self._name, self._look,
            self._generate_for, self._export,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for step in (*often, *often, *steps):
                group.create_task(self._repeat(step, None, importing_them))
            await importing_them

    async def _repeat(
        self, step: Callable[[], Awaitable[None]], rounds: int | None, until: asyncio.Future[Any] | None
    ) -> None:
        while rounds != 0 and not (until and until.done()):
            rounds = None if rounds is None else rounds - 1
            try:
                await step()
            except ProgramRefused:
                self.done["refused"] += 1
            else:
                self.done[step.__name__.removeprefix("_")] += 1

    async def _seldom(self) -> None:
        """Actions that take codes away alternate, so that some codes are left."""
        await self._repeat(self._random.choice([self._expire, self._undo, self._forget, self._generate]), 1, None)

    def _program(self) -> str:
        return self._random.choice(NAMES)

    async def _claim(self) -> None:
        claims = Claims(self._connections, self._minters)
        wanted = [self._random.choice([("SPRING",), ("DISTANT",), NAMES]) for _ in range(15)]
        claimed = await claims.attach([message(*one, profile_id=self._random.choice(_PROFILES)) for one in wanted])
        for rows in claimed.rows.values():
            self._seen += [(claims.names[row.program_id or 0], row.code) for row in rows if row.code is not None]

    async def _look(self) -> None:
        name = self._program()
        async with self._connections.acquire() as connection:
            page = await listing.page(ProgramCodes(connection, self._minters, self._ids[name]), START, 200)
        self._seen += [(name, one.code) for one in page.codes]

    async def _live(self) -> None:
        name, code = self._random.choice(self._seen or [("SPRING", "none")])
        step = self._random.choice(
            [till.activate, till.deactivate, lifecycle.detach, lifecycle.detach, lifecycle.delete, None]
        )
        async with self._connections.acquire() as connection:
            if step is not None:
                await step(ProgramCodes(connection, self._minters, self._ids[name]), code)
                self.done[step.__name__] += 1
                return
            now = await connection.fetchval("SELECT now()")
            expires_at = self._random.choice([None, now])
            await lifecycle.change(
                ProgramCodes(connection, self._minters, self._ids[name]),
                code,
                lambda one: lifecycle.CodeChange(expires_at, one.fields),
            )

    async def _activate_many(self) -> None:
        name = self._program()
        texts = {code for of, code in self._random.choices(self._seen or [("SPRING", "none")], k=10) if of == name}
        async with self._connections.acquire() as connection, connection.transaction():
            steps = [self._till_request(text) for text in texts]
            await till.apply_all(ProgramCodes(connection, self._minters, self._ids[name]), steps)

    def _till_request(self, code: str) -> TillRequest:
        step: Step = self._random.choice(["activate", "activate", "hold", "release", "deactivate"])
        order_id = self._random.choice(["o-1", "o-2"] if step in {"hold", "release"} else ["o-1", "o-2", None])
        return TillRequest(step, code, order_id=order_id, ttl=timedelta(seconds=self._random.choice([1, 60])))

    async def _name(self) -> None:
        name = self._program()
        new = f"NAMED-{next(self._numbers)}"
        pooled = [code for of, code in self._seen if of == name] or [new]
        code = self._random.choice([new, *self._random.choices(pooled, k=2)])
        who = f"named-{next(self._numbers)}"
        async with self._connections.acquire() as connection:
            await manual.attach_named(connection, self._minters, name, code, who, uuid7())
        self._seen.append((name, code))

    async def _fill(self) -> None:
        async with self._connections.acquire() as connection:
            _, left = await top_up_many(connection, list(self._ids.values()))
        for program_id in left:
            async with self._connections.acquire() as connection:
                await fill.top_up(connection, self._minters, program_id)

    async def _generate(self) -> None:
        async with self._connections.acquire() as connection:
            await fill.generate(connection, self._minters, self._ids[self._program()], 15, None)

    async def _generate_for(self) -> None:
        profiles = self._random.sample(_PROFILES, 20)
        async with self._connections.acquire() as connection:
            ids = (uuid7() for _ in profiles)
            await assigned.generate_for(connection, self._minters, self._ids["SPRING"], profiles, ids, None)

    async def _forget(self) -> None:
        async with self._connections.acquire() as connection:
            try:
                await forget(connection, self._random.choice(_PROFILES))
            except StackUnavailable:
                self.done["not forgotten"] += 1

    async def _order(self) -> None:
        async with self._connections.acquire() as connection:
            order = await remote_programs.take(connection, _LEASE_S, {}, 100)
            if order is None:
                await remote_programs.no_more_pauses(connection)
                return
            if self._random.random() < 0.2:
                await order_leases.record_failure(connection, order, RemoteFailed("The service answered 500."), 0.0)
                return
            brought = self._random.choice([order.asked, order.asked, order.asked // 2])
            codes = remote_programs.codes(brought, next(self._numbers) * 1_000)
            await remote_programs.store(connection, order, codes)

    async def _bring_in(self) -> None:
        """Import a file of texts that other files have too, some for profiles."""
        name = self._program()
        path = self._directory / f"{next(self._numbers)}.csv"
        texts = self._random.sample(range(1_500), 60)
        rows = [f"I-{text},{self._random.choice(['', '', '', self._random.choice(_PROFILES)])}\n" for text in texts]
        path.write_text(f"code,who\n{''.join(rows)}")
        options, limits = ImportOptions(profile_column="who"), FileLimits()
        scanned, reading = read_file(path, options)
        async with self._connections.acquire() as connection:
            program = await programs.get(connection, name)
            begun = await imports.start_import(
                connection, uuid7(), program, path.name, scanned, options, reading, uploaded=False
            )
            self._imports.append(begun.id)
            await run.import_file(connection, self._minters, begun.id, path, scanned, limits, no_progress)
        self._seen += [(name, f"I-{text}") for text in texts]

    async def _undo(self) -> None:
        async with self._connections.acquire() as connection:
            for import_id in self._random.sample(self._imports[-4:], min(1, len(self._imports))):
                await undo.undo(connection, import_id)

    async def _expire(self) -> None:
        """Let some codes in the pool expire, before any snapshot that sees it was begun."""
        async with self._connections.acquire() as connection:
            await connection.execute(_EXPIRE, self._ids[self._program()])

    async def _export(self) -> None:
        """An export and the counts of one snapshot must agree."""
        name = self._program()
        written: list[bytes] = []

        async def write(some: bytes) -> None:
            written.append(some)

        async with (
            self._connections.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            stock = await overview.stock(connection, name)
            program = await programs.get(connection, name)
            async with of_one_moment(connection) as moment:
                await export(moment, self._minters, program, ExportOptions(), write)
        rows = list(csv.DictReader(io.StringIO(b"".join(written).decode(), newline="")))
        assert len({row["code"] for row in rows}) == len(rows) == stock.made + stock.imported
        states = Counter(row["state"] for row in rows)
        assert (states["pooled"], states["deleted"], states["activated"]) == (
            stock.pooled, stock.deleted, stock.activated,
        )  # fmt: skip
        given = states["attached"] + states["held"] + states["activated"]
        assert given + states["expired"] == stock.attached + stock.expired


async def look_at_all(connection: Connection) -> None:
    """Check that each program accounts for every code."""
    for name in NAMES:
        stock = await overview.stock(connection, name)
        assert stock.made + stock.imported == stock.pooled + stock.attached + stock.expired + stock.deleted
        assert stock.made + stock.imported + stock.on_order <= stock.codes_max
