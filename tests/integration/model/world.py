"""The product as the machine drives it: two workers on one database, and a clock that can be put forward."""

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from codewell.audit.audit_log import Actor
from codewell.audit.promises import Finding, audit
from codewell.codes import bulk, bulk_apply, lifecycle
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodewellError, FileRefused, ProgramRefused, TemplateInvalid
from codewell.files.limits import FileLimits
from codewell.imports import imports, run, undo
from codewell.infra.postgres.connection import Pool, pool
from codewell.issuing import assigned, manual, reissue
from codewell.issuing.claim import Claims
from codewell.issuing.model import AnswerRow, ManualRequest, Request
from codewell.minting.minter import Minter
from codewell.pool import fill
from codewell.pool.fill_many import top_up_many
from codewell.pool.minter_cache import Minters
from codewell.profiles.forgetting import forget
from codewell.programs import programs
from codewell.redemption import orders
from codewell.redemption.till import activate, deactivate, hold
from codewell.reservations import reservations
from codewell.returns.settle import Receipt, Returns
from schemas.changes import ChangeFilter
from schemas.imports import ImportOptions
from schemas.reports import OrderState
from schemas.reservations import ReservationRequest
from tests.integration.model.figures import Figures, figures
from tests.integration.model.model import Answer, Asked, Got
from tests.integration.model.reading import Reading, read, understand
from tests.support import old_answers
from tests.support.factories import message, plain, program, step
from tests.support.import_runs import no_progress, read_file
from tests.support.stock import attach_all
from tests.support.stream_log import StreamLog

T = TypeVar("T")
CONNECTIONS: Final = 6
_PERSON: Final = Actor("command", "somebody")
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
# The audit log has no part in what happens to codes, and lets nobody change it.
_MOMENTS: Final = """
    SELECT table_name, string_agg(format('%I = %I - $1::interval', column_name, column_name), ', ') AS changes
    FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' AND table_name <> 'audit_entry'
    GROUP BY table_name
    """


class Keys:
    """Secret keys that are the same in each run, so that a run can be repeated."""

    def __init__(self) -> None:
        self.made = 0

    def token_bytes(self, count: int) -> bytes:
        self.made += 1
        return hashlib.shake_128(str(self.made).encode()).digest(count)


class World:
    """One database for all examples, which each of them begins with empty. Its loop is its own."""

    def __init__(self, url: str, directory: Path, keys: Keys) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._stack = AsyncExitStack()
        self._url = url
        self._file = directory / "codes.csv"
        self._keys = keys
        self._moments: dict[str, str] = {}
        self.folding: set[int] = set()
        self.connections: Pool
        self.moved = timedelta(0)
        """By how much the clock was put forward."""
        self.begin = _LONG_AGO

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Run this on the loop."""
        return self._runner.run(what)

    def __enter__(self) -> Self:
        self.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stack.aclose())
        self._runner.close()

    async def _open(self) -> None:
        self.connections = await self._stack.enter_async_context(pool(self._url, "codewell-model", CONNECTIONS))
        async with self.connections.acquire() as connection:
            self._moments = dict(await connection.fetch(_MOMENTS))

    async def begin_anew(self) -> None:
        """Forget all programs, codes and answers."""
        self.minters = Minters(None)
        self.workers = [Claims(self.connections, self.minters), Claims(self.connections, Minters(None))]
        self.moved = timedelta(0)
        self._keys.made = 0
        self.folding.clear()
        async with self.connections.acquire() as connection:
            await connection.execute(
                "TRUNCATE program, code, code_state, folded_text, answer, holding, profile, code_reissue, "
                "send_receipt, code_use, return_minute, shop_order, retention RESTART IDENTITY CASCADE"
            )
            self.begin = await connection.fetchval("SELECT clock_timestamp()")
            self._log = await StreamLog.begin(connection)

    async def put_forward(self, days: int) -> None:
        """Let days pass: every moment that the database knows of is so much longer ago."""
        actor = timedelta(days=days)
        async with self.connections.acquire() as connection, connection.transaction():
            # What has been is not changed, so no trigger is to note a change.
            await connection.execute("SET LOCAL session_replication_role = replica")
            await self._log.leave_out(connection)
            for table, changes in self._moments.items():
                await connection.execute(f"UPDATE {table} SET {changes}", actor)
        self.moved += actor

    async def read(self) -> Reading:
        """All rows, and what they say."""
        async with self.connections.acquire() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            rows = await read(connection)
            minters: dict[tuple[int, int], Minter] = {}
            for row in rows.block:
                if row["kind"] == "range":
                    key = row["program_id"], row["version"]
                    minters[key] = await self.minters.get(connection, *key)
        return understand(rows, lambda program_id, version: minters[program_id, version], now)

    async def figures(self, names: list[str]) -> Figures:
        """What is told of these programs."""
        async with self.connections.acquire() as connection:
            return await figures(connection, names)

    async def audit(self) -> list[Finding]:
        """What the product's own audit finds."""
        async with self.connections.acquire() as connection:
            return await audit(connection)

    async def stream(self) -> list[str]:
        """What is wrong with the stream of codes since the example began (I11)."""
        async with self.connections.acquire() as connection:
            # Putting the clock forward changes answers, which nothing else does.
            return await self._log.differences(connection, self._file.parent, with_times=not self.moved)

    async def rows_with(self, text: str) -> list[str]:
        """The tables of which a row holds this text in any column."""
        async with self.connections.acquire() as connection:
            names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            return [
                name
                for (name,) in names
                if await connection.fetchval(
                    f"SELECT EXISTS (SELECT FROM {name} t WHERE strpos(t::text, $1) > 0)", text
                )
            ]

    # Programs.

    async def create(self, name: str, **changed: Any) -> int:
        async with self.connections.acquire() as connection:
            made = await program(connection, self.minters, name, **changed)
        if made.match == "fold":
            self.folding.add(made.id)
        return made.id

    async def update(self, name: str, **changes: object) -> bool:
        """Whether the change was taken: a template without texts enough is not."""
        async with self.connections.acquire() as connection:
            try:
                await programs.update(connection, self.minters, name, changes, guesses_per_s=10)
            except TemplateInvalid:
                return False
        return True

    async def fall_back(self, name: str, names: Sequence[str]) -> bool:
        async with self.connections.acquire() as connection:
            changes = {"fallback": [{"program": one} for one in names]}
            return await _accepted(programs.update(connection, self.minters, name, changes, guesses_per_s=10))

    async def set_active(self, name: str, active: bool) -> None:
        async with self.connections.acquire() as connection:
            await programs.set_active(connection, name, active)

    async def remove(self, name: str) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(programs.remove(connection, name))

    async def moment(self, days: int) -> datetime:
        """So many days from now, by the database's clock."""
        async with self.connections.acquire() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now + timedelta(days=days)

    # Requests. A worker is 0 or 1.

    async def ask(self, worker: int, asked: Sequence[Asked]) -> dict[Asked, Answer]:
        """Answer these as one batch, what has to wait with the next."""
        claims = self.workers[worker]
        rows = await attach_all(claims, [_request(one) for one in asked])
        return {one: answer_of(claims.names, [row._asdict() for row in rows[one.id]]) for one in asked}

    async def attach(self, worker: int, asked: Asked) -> AnswerRow | None:
        """Attach by hand the next code; None where the program refuses."""
        try:
            return await manual.attach(self.workers[worker], asked.names[0], asked.profile, asked.id)
        except ProgramRefused:
            return None

    # Codes.

    async def attach_named(self, name: str, text: str, profile: str, request_id: UUID) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(manual.attach_named(connection, self.minters, name, text, profile, request_id))

    async def live(self, what: str, program_id: int, text: str) -> bool:
        """Detach, activate, deactivate or delete a code; whether that was done."""
        async with self.connections.acquire() as connection:
            tills: dict[str, Any] = {"activate": activate, "deactivate": deactivate}
            step = tills.get(what) or getattr(lifecycle, what)
            # As people type it where they may.
            given = f" {text.replace('-', ' ').lower()}" if program_id in self.folding else text
            return await _accepted(step(ProgramCodes(connection, self.minters, program_id), given))

    async def hold(self, program_id: int, text: str, order_id: str) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(hold(ProgramCodes(connection, self.minters, program_id), text, order_id))

    async def tell(self, order_id: str, told: Sequence[OrderState]) -> None:
        """Settle events of an order as one batch, which an issuer gets twice."""
        events = [orders.OrderEvent(order_id, state, None) for state in told]
        async with self.connections.acquire() as connection:
            for _ in range(2):
                await orders.settle(connection, self.minters, events)

    async def fail(self, request_id: UUID, profile: str) -> list[str]:
        """Report twice that a message failed before the handoff; what became of its codes."""
        receipt = Receipt(request_id, profile, "before_handoff")
        async with self.connections.acquire() as connection:
            first, again = [(await Returns().settle(connection, [receipt])).settled[receipt] for _ in range(2)]
        assert again == first, f"I2: {receipt} was answered {first}, then {again}"
        return [code.outcome for code in first.codes]

    async def change_end(self, program_id: int, text: str, ends: datetime | None) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(
                lifecycle.change(
                    ProgramCodes(connection, self.minters, program_id),
                    text,
                    lambda facts: lifecycle.CodeChange(ends, facts.fields),
                )
            )

    async def reissue(self, program_id: int, text: str, request_id: UUID, *, fresh: bool) -> str | None:
        """The code that replaced this one; None where the program refuses."""
        wanted = reissue.ReissueWanted(text, None, "lost", "fresh" if fresh else "same")
        async with self.connections.acquire() as connection:
            codes = ProgramCodes(connection, self.minters, program_id)
            try:
                return (await reissue.reissue(codes, wanted, request_id, _PERSON, is_last=True)).code.code
            except ProgramRefused:
                return None

    async def change_all(
        self, name: str, program_id: int, state: Any, change_id: UUID, *, void: bool, ends: datetime | None, back: bool
    ) -> bool:
        """Change many codes, and back again; whether that was done."""
        async with self.connections.acquire() as connection:
            try:
                async with connection.transaction():
                    await bulk.start(
                        connection, change_id, program_id, name, ChangeFilter(state=state), bulk.NewChange(void, ends),
                        _PERSON,
                    )  # fmt: skip
            except ProgramRefused:
                return False
            await bulk_apply.carry_out(connection, change_id, lambda _: None)
            if back:
                await bulk.undo(connection, change_id, _PERSON)
                await bulk_apply.carry_out(connection, change_id, lambda _: None)
        return True

    async def generate(self, program_id: int, count: int) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(fill.generate(connection, self.minters, program_id, count, None))

    async def reserve_and_release(self, program_id: int, campaign: str, count: int) -> int:
        """Reserve up to so many codes for a campaign and give back what it did not get; how many were made for that."""
        wanted = ReservationRequest(
            campaign_id=campaign, count=count, until=await self.moment(1), partial=True, overflow="pool"
        )
        async with self.connections.acquire() as connection:
            try:
                made = await reservations.reserve(connection, self.minters, program_id, wanted)
            except ProgramRefused:
                return 0
        async with self.connections.acquire() as connection:
            await reservations.release(connection, program_id, made.id)
        return made.parts.minted

    async def generate_for(self, program_id: int, profiles: Sequence[str], ids: Iterable[UUID]) -> bool:
        async with self.connections.acquire() as connection:
            return await _accepted(
                assigned.generate_for(connection, self.minters, program_id, profiles, iter(ids), None)
            )

    async def fill(self, program_ids: Sequence[int]) -> None:
        """As the generator does: many at once, and one by one what is not plain."""
        async with self.connections.acquire() as connection:
            _, left = await top_up_many(connection, program_ids)
        for program_id in left:
            async with self.connections.acquire() as connection:
                await fill.top_up(connection, self.minters, program_id)

    async def bring_in(
        self, name: str, rows: Sequence[tuple[str, str, datetime | None]], import_id: UUID, *, profiles: bool
    ) -> tuple[int, int] | None:
        """Import rows of text, profile and end; how many came and how many of them to somebody. None for refused."""
        lines = (f"{text},{profile},{ends.isoformat() if ends else ''}\n" for text, profile, ends in rows)
        self._file.write_text(f"code,who,until\n{''.join(lines)}")
        limits = FileLimits()
        options = ImportOptions(column="code", profile_column="who" if profiles else None, expiry_column="until")
        scanned, reading = read_file(self._file, options)
        async with self.connections.acquire() as connection:
            try:
                into = await programs.get(connection, name)
                imports.check_program(into, options)
                begun = await imports.start_import(
                    connection, import_id, into, self._file.name, scanned, options, reading, uploaded=False
                )
                done = await run.import_file(
                    connection, self.minters, begun.id, self._file, scanned, limits, no_progress
                )
            except ProgramRefused:
                return None
            except FileRefused:
                # None of its rows could be imported.
                return 0, 0
        return done.imported, done.attached

    async def undo(self, import_id: UUID) -> int:
        """Take an import back, and return how many codes came back with it in all."""
        async with self.connections.acquire() as connection:
            return (await undo.undo(connection, import_id)).taken_back

    async def archive(self, oldest: UUID) -> set[UUID]:
        """Let all answers leave that may, of requests before this id; the requests whose answers left."""
        async with self.connections.acquire() as connection:
            before = {row["request_id"] for row in await connection.fetch("SELECT request_id FROM answer")}
            await old_answers.archive_before(connection, oldest)
            return before - {row["request_id"] for row in await connection.fetch("SELECT request_id FROM answer")}

    async def forget(self, profile: str) -> None:
        async with self.connections.acquire() as connection:
            await forget(connection, profile)


async def _accepted(what: Coroutine[Any, Any, object]) -> bool:
    """Whether a thing was done, and not refused."""
    try:
        await what
    except CodewellError as error:
        if not isinstance(error, ProgramRefused):
            raise
        return False
    return True


def _request(asked: Asked) -> Request:
    given: dict[str, Any] = {
        "request_id": asked.id,
        "profile_id": asked.profile,
        "preview": asked.preview,
        "deadline": _LONG_AGO if asked.late else None,
    }
    if asked.source == "campaign":
        request = message(*asked.names, campaign_id=asked.where, **given)
    elif asked.source == "scenario":
        request = step(asked.names[0], step_id=asked.where, **given)
    else:
        return Request(asked.id, ManualRequest(asked.profile, asked.names[0]), asked.names)
    # A deadline is for pydantic.
    return request if asked.late else plain(request)


def answer_of(names: Mapping[int, str], rows: Sequence[Mapping[str, Any]]) -> Answer:
    """What the rows of one answer say."""
    if rows[0]["refusals"] is not None:
        [row] = rows
        return Answer((), tuple((one["program"], one["reason"]) for one in json.loads(row["refusals"])))
    return Answer(
        tuple(
            Got(
                names[row["program_id"]], row["code"], row["again"],
                names[row["asked_program_id"] or row["program_id"]], row["link"],
            )
            for row in rows
        ),
        (),
    )  # fmt: skip
