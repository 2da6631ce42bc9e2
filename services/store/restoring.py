"""Answers that a fail-over took from the database, judged, and put back where nobody has their codes.

What an answer gave is put back as it was given: its request has its answer again, and its codes are nobody else's. Of
an answer that can't be put back whole, those codes that are free are kept for its profile all the same, under a
request id that follows from the answer's: nobody else is to get them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID, uuid5

import asyncpg

from services.attaching.model import EVERYBODY, AnswerRow, Code, Decision, HoldingKey
from services.postgres.connection import Connection
from services.store import codes, foreign, life, stock
from services.store.codes import At
from services.store.minters import Minters
from services.store.reconciling import Published, PublishedCode, Strange, stored_by_request

_ROUNDS_MAX: Final = 10
# Clocks of those who answer may be off by so much.
_SLACK: Final = timedelta(minutes=2)
_KEPT: Final = UUID("4b1f6f0e-58e7-4d0e-9d44-1c2f5f0a7c11")

_OTHERS: Final = "The database says that another profile has it."
_BEFORE: Final = "Another answer gave it to another profile before."

_PROGRAMS: Final = """
    SELECT id, name, shared, reuse, codes_max - made - imported - on_order AS room, on_order,
           source->>'kind' AS codes_from
    FROM program WHERE name = ANY($1::text[])
    """
_LOCK_PROGRAMS: Final = "SELECT FROM program WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_SHARED: Final = """
    SELECT program_id, held_from, held_until FROM (
        SELECT *, lead(held_from) OVER (PARTITION BY program_id ORDER BY held_from, id) AS held_until
        FROM program_history WHERE program_id = ANY($1::bigint[])) h
    WHERE shared
    """
# In the order in which all who change codes lock: rows of code_state, then blocks.
_LOCK_STATES: Final = """
    INSERT INTO code_state AS s (block_id, position)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) ORDER BY 1, 2
    ON CONFLICT (block_id, position) DO UPDATE SET hole = s.hole
    """
_LOCK_BLOCKS: Final = "SELECT FROM block WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_TAKE_OUT: Final = """
    WITH taken AS (
        UPDATE code_state s SET hole = true FROM unnest($1::bigint[], $2::bigint[]) AS t (block_id, position)
        WHERE s.block_id = t.block_id AND s.position = t.position RETURNING s.block_id
    ), counted AS (SELECT block_id, count(*) AS count FROM taken GROUP BY block_id)
    UPDATE block SET attached = attached + count, holes = holes + count, open = open AND next + holes + count < size
    FROM counted WHERE id = block_id
    """
# Holes that a claim would step over next are behind it already, so that no claim has to look through all of them.
_STEP_OVER: Final = """
    WITH stepped AS (
        SELECT block_id, count(*) AS count FROM (
            SELECT s.block_id, s.position, b.next - 1 + row_number() OVER (PARTITION BY b.id ORDER BY s.position) AS nth
            FROM code_state s JOIN block b ON b.id = s.block_id
            WHERE b.id = ANY($1::bigint[]) AND s.hole AND s.position >= b.next) h
        WHERE position = nth GROUP BY block_id)
    UPDATE block SET next = next + count, holes = holes - count FROM stepped WHERE id = block_id
    """
_TAKE_IN: Final = """
    WITH held AS (
        INSERT INTO block (program_id, kind, size, next, attached, open, origin, created_at)
        VALUES ($1, 'list', $3, $3, $3, false, 'hand', $4) RETURNING id
    ), counted AS (
        UPDATE program SET imported = imported + $3 WHERE id = $1
    ), listed AS (
        INSERT INTO code (block_id, position, program_id, text)
        SELECT id, t.n - 1, $1, t.text FROM held CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS t (text, n)
    )
    SELECT id FROM held
    """

_Span = tuple[datetime, datetime | None]

Kind = Literal["lost_answer", "lost_code", "two_answers", "two_profiles"]


class Case(NamedTuple):
    """One thing that Kafka says and the database does not."""

    kind: Kind
    place: str
    request_id: UUID
    profile_id: str
    program: str | None
    code: str | None
    can_repair: bool
    detail: str


class _Program(NamedTuple):
    id: int
    name: str
    shared: bool
    reuse: str
    room: int
    on_order: int
    codes_from: str


class _Spot(NamedTuple):
    """What can be done about one code: `at` is where it is, None where the program does not have it."""

    code: PublishedCode
    program: _Program | None
    at: At | None
    how: Literal["attach", "deleted", "again", "take_in", "other", "no"]
    why: str = ""


class _Plan:
    """What is found out about some answers, and what putting them back takes."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.rows: list[AnswerRow] = []
        self.attached: list[tuple[int, int]] = []
        self.taken_in: dict[int, list[str]] = {}
        self.holdings: dict[HoldingKey, AnswerRow] = {}
        self.given: dict[tuple[int, str], str] = {}

    def is_like(self, other: "_Plan") -> bool:
        """Whether both lock the same."""
        return self.attached == other.attached and self.taken_in.keys() == other.taken_in.keys()


class Restoring:
    """Judges answers that the database does not have, and puts them back."""

    def __init__(self, connection: Connection, minters: Minters) -> None:
        self._connection = connection
        self._minters = minters

    async def judge(self, strange: Sequence[Strange]) -> list[Case]:
        """What is wrong with these; nothing is changed."""
        return (await self._plan(strange)).cases

    async def repair(self, strange: Sequence[Strange]) -> list[Case]:
        """What was wrong with these; in one transaction, all that can be repaired is. Raises what asyncpg raises."""
        for _ in range(_ROUNDS_MAX):
            expected = await self._plan(strange)
            try:
                async with AsyncExitStack() as stack:
                    marks = {
                        program_id: await stack.enter_async_context(foreign.taking_in(self._connection, program_id))
                        for program_id in sorted(expected.taken_in)
                    }
                    return await self._repair(strange, expected, marks)
            except (life.Moved, asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                # Somebody was at these codes or requests at the same time.
                continue
        return await self._repair_none(strange)

    async def _repair_none(self, strange: Sequence[Strange]) -> list[Case]:
        cases = await self.judge(strange)
        why = "Others change these codes without end: stop the issuers and run it again."
        return [case._replace(can_repair=False, detail=why) if case.can_repair else case for case in cases]

    async def _repair(
        self, strange: Sequence[Strange], expected: _Plan, marks: Mapping[int, UUID | None]
    ) -> list[Case]:
        connection = self._connection
        async with connection.transaction():
            await stock.deciding(connection)
            await connection.execute(_LOCK_PROGRAMS, sorted(expected.taken_in))
            for program_id, mark in marks.items():
                if not await foreign.may_take_in(connection, program_id, mark):
                    raise life.Moved
            places = sorted(expected.attached)
            columns = [block for block, _ in places], [position for _, position in places]
            await connection.execute(_LOCK_STATES, *columns)
            await connection.execute(_LOCK_BLOCKS, columns[0])
            plan = await self._plan(strange)
            if not plan.is_like(expected):
                raise life.Moved
            await connection.execute(_TAKE_OUT, *columns)
            await connection.execute(_STEP_OVER, columns[0])
            await self._write(plan)
        return plan.cases

    async def _write(self, plan: _Plan) -> None:
        spots: dict[tuple[int, str], tuple[int, int]] = {}
        for program_id, texts in plan.taken_in.items():
            given_at = min(row.answered_at for row in plan.rows if row.program_id == program_id and row.code in texts)
            block_id = await self._connection.fetchval(_TAKE_IN, program_id, texts, len(texts), given_at)
            spots |= {(program_id, text): (block_id, position) for position, text in enumerate(texts)}

        def placed(row: AnswerRow) -> AnswerRow:
            spot = spots.get((row.program_id or 0, row.code or ""))
            return row if spot is None or row.preview else row._replace(block_id=spot[0], position=spot[1])

        rows = [placed(row) for row in plan.rows]
        await stock.write(self._connection, Decision(rows, {}, {}, {}, {}, []))
        holdings = {
            key: Code(row.block_id or 0, row.position or 0, row.code or "", row.expires_at, row.fields)
            for key, row in ((key, placed(row)) for key, row in plan.holdings.items())
        }
        await stock.hold(self._connection, holdings)

    async def _plan(self, strange: Sequence[Strange]) -> _Plan:
        connection = self._connection
        now = await connection.fetchval("SELECT statement_timestamp()")
        stored = await stored_by_request(connection, [one.answer.request_id for one in strange])
        spots = await self._spots(strange)
        plan = _Plan()
        for one, of_answer in zip(strange, spots, strict=True):
            answer = one.answer
            if answer.request_id in stored:
                _add(plan, "two_answers", answer, None, "The database has another answer to the same request.")
            elif one.other_place is not None:
                _add(plan, "two_answers", answer, None, f"{one.other_place} has another answer to the same request.")
            _judge(plan, one, of_answer, now, is_first=answer.request_id not in stored and one.other_place is None)
        return plan

    async def _spots(self, strange: Sequence[Strange]) -> list[list[_Spot]]:
        """Of each answer, what can be done about each of its codes."""
        names = {code.program for one in strange for code in one.answer.codes}
        rows = await self._connection.fetch(_PROGRAMS, sorted(names))
        programs = {row["name"]: _Program(*(row[field] for field in _Program._fields)) for row in rows}
        found = await self._found(strange, programs)
        shared: dict[int, list[_Span]] = {}
        for program_id, start, end in await self._connection.fetch(_SHARED, [one.id for one in programs.values()]):
            shared.setdefault(program_id, []).append((start, end))

        def spot(one: Strange, code: PublishedCode) -> _Spot:
            program = programs.get(code.program)
            if program is None or one.answer.preview:
                why = f"The database has no program {code.program}: make it again, then run this again."
                return _Spot(code, program, None, "no", "" if program else why)
            written_at = one.answer.written_at
            is_everybodys = any(
                start <= written_at + _SLACK and (end is None or end > written_at - _SLACK)
                for start, end in shared.get(program.id, [])
            )
            first = None if is_everybodys else one.first_holders.get((code.program, code.text))
            return _spot(code, program, found.get((program.id, code.text)), one.answer.profile_id, first,
                         is_everybodys=is_everybodys)  # fmt: skip

        return [[spot(one, code) for code in one.answer.codes] for one in strange]

    async def _found(
        self, strange: Sequence[Strange], programs: Mapping[str, _Program]
    ) -> dict[tuple[int, str], tuple[At, codes.CodeFacts]]:
        """Where the codes of these answers are and what is known of each, by program and text."""
        texts: dict[int, list[str]] = {}
        for one in strange:
            for code in () if one.answer.preview else one.answer.codes:
                if code.program in programs:
                    texts.setdefault(programs[code.program].id, []).append(code.text)
        found = {}
        for program_id, wanted in texts.items():
            located = await codes.locate_all(self._connection, self._minters, program_id, wanted)
            there = [(text, at) for text, at in zip(wanted, located, strict=True) if at is not None]
            facts = await codes.facts_of(
                self._connection, self._minters, program_id, [at for _, at in there], [text for text, _ in there]
            )
            for (text, at), fact in zip(there, facts, strict=True):
                if fact is None:
                    raise life.Moved
                found[program_id, text] = (at, fact)
        return found


def _spot(
    code: PublishedCode,
    program: _Program,
    found: tuple[At, codes.CodeFacts] | None,
    profile_id: str,
    first_holder: str | None,
    *,
    is_everybodys: bool,
) -> _Spot:
    """What can be done about one code that was given to this profile."""
    if found is None:
        if program.codes_from == "remote" and program.on_order > 0:
            why = f"{program.name} has codes on order: run the generator until it has none, then run this again."
            return _Spot(code, program, None, "no", why)
        is_others = first_holder not in {None, profile_id}
        return _Spot(code, program, None, "other" if is_others else "take_in", _BEFORE)
    at, facts = found
    if facts.profile_id is not None:
        is_own = is_everybodys or facts.profile_id == profile_id
        return _Spot(code, program, at, "again" if is_own else "other", _OTHERS)
    if first_holder not in {None, profile_id}:
        return _Spot(code, program, at, "other", _BEFORE)
    if facts.state != "deleted" and at.position < at.block["next"]:
        return _Spot(code, program, at, "no", "It is taken and nobody has it: run codewell audit.")
    return _Spot(code, program, at, "deleted" if facts.state == "deleted" else "attach")


def _judge(plan: _Plan, one: Strange, spots: Sequence[_Spot], now: datetime, *, is_first: bool) -> None:
    """Add what becomes of one answer to the plan."""
    answer = one.answer
    if answer.refusals is not None or answer.preview:
        if is_first:
            _put_back_as_it_is(plan, answer, spots, now)
        return
    spots = [_with_room(plan, spot, answer.profile_id) for spot in spots]
    is_whole = is_first and all(spot.how not in {"other", "no"} for spot in spots)
    for ordinal, spot in enumerate(spots):
        code = spot.code
        if spot.how == "other":
            _add(plan, "two_profiles", answer, code, spot.why)
        elif spot.how == "no":
            _add(plan, "lost_answer", answer, code, spot.why)
        elif is_whole:
            _add(plan, "lost_answer", answer, code, "The database does not know it.", can_repair=True)
            _give(plan, answer, spot, answer.request_id, ordinal, now)
        elif spot.how in {"attach", "take_in"} and not _is_given(plan, spot):
            _add(plan, "lost_code", answer, code, "It is kept for this profile.", can_repair=True)
            _give(plan, answer, spot, uuid5(_KEPT, f"{answer.request_id}/{ordinal}/{code.text}"), 0, now)


def _with_room(plan: _Plan, spot: _Spot, profile_id: str) -> _Spot:
    """The same, with what the answers before it in the plan change."""
    program = spot.program
    if program is None or spot.how not in {"attach", "take_in", "deleted"}:
        return spot
    holder = plan.given.get((program.id, spot.code.text))
    if holder is not None and holder == profile_id:
        return spot._replace(how="again")
    if holder is not None:
        return spot._replace(how="again" if program.shared else "other", why=_BEFORE)
    if spot.how == "take_in" and program.room <= len(plan.taken_in.get(program.id, ())):
        why = f"{program.name} holds as many codes as it may: raise its maximum, then run this again."
        return spot._replace(how="no", why=why)
    return spot


def _is_given(plan: _Plan, spot: _Spot) -> bool:
    return spot.program is not None and (spot.program.id, spot.code.text) in plan.given


def _give(plan: _Plan, answer: Published, spot: _Spot, request_id: UUID, ordinal: int, now: datetime) -> None:
    """Plan the row of one code, and what it changes in its block."""
    code, program, at = spot.code, spot.program, spot.at
    if program is None:
        raise ValueError("A code of no program can't be given.")
    key = (program.id, code.text)
    again = spot.how == "again"
    row = AnswerRow(
        request_id, ordinal, program.id, at and at.block["id"], at and at.position, again, False, answer.profile_id,
        code.text, code.expires_at, code.fields, None, _answered_at(answer, code.expires_at, now),
    )  # fmt: skip
    plan.rows.append(row)
    if again:
        return
    plan.given[key] = answer.profile_id
    if spot.how == "take_in":
        plan.taken_in.setdefault(program.id, []).append(code.text)
    elif spot.how == "attach" and at is not None:
        plan.attached.append((at.block["id"], at.position))
    if spot.how != "deleted" and (program.shared or program.reuse == "profile"):
        plan.holdings.setdefault(HoldingKey(program.id, EVERYBODY if program.shared else answer.profile_id, ""), row)


def _put_back_as_it_is(plan: _Plan, answer: Published, spots: Sequence[_Spot], now: datetime) -> None:
    """Plan the rows of a refusal or of a preview: they have nobody's codes."""
    for spot in spots:
        if spot.program is None:
            _add(plan, "lost_answer", answer, spot.code, spot.why)
            return
    _add(plan, "lost_answer", answer, None, "The database does not know it.", can_repair=True)
    answered_at = _answered_at(answer, None, now)
    if answer.refusals is not None:
        plan.rows.append(
            AnswerRow(answer.request_id, 0, None, None, None, False, answer.preview, answer.profile_id, None, None,
                      None, answer.refusals, answered_at)
        )  # fmt: skip
    for ordinal, spot in enumerate(spots):
        plan.rows.append(
            AnswerRow(answer.request_id, ordinal, spot.program and spot.program.id, None, None, False, True,
                      answer.profile_id, spot.code.text, spot.code.expires_at, spot.code.fields, None, answered_at)
        )  # fmt: skip


def _answered_at(answer: Published, expires_at: datetime | None, now: datetime) -> datetime:
    """When it was decided, as far as one can tell: by the clock of whoever answered, which may be wrong."""
    latest = now if expires_at is None else min(now, expires_at - timedelta(microseconds=1))
    return min(answer.written_at, latest)


def _add(
    plan: _Plan, kind: Kind, answer: Published, code: PublishedCode | None, detail: str, *, can_repair: bool = False
) -> None:
    plan.cases.append(
        Case(
            kind, answer.place, answer.request_id, answer.profile_id, code and code.program, code and code.text,
            can_repair, detail,
        )
    )  # fmt: skip
