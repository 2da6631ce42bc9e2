"""Answers that a fail-over took from the database, put back where nobody has their codes.

What an answer gave is put back as it was given: its request has its answer again, and its codes are nobody else's.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from codewell.codes import lifecycle, lookup, possible_texts
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.model import AnswerRow, Decision, PooledCode
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import hold_deciding_lock
from codewell.recovery.reconciliation import MissingAnswer, PublishedCode, stored_by_request
from codewell.recovery.repair_plan import CodeSpot, KnownProgram, RepairCase, RepairPlan, add, judge, spot_of

_ROUNDS_MAX: Final = 10
# Clocks of those who answer may be off by so much.
_SLACK: Final = timedelta(minutes=2)

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


class Repair:
    """Judges answers that the database does not have, and puts them back."""

    def __init__(self, connection: Connection, minters: Minters) -> None:
        self._connection = connection
        self._minters = minters

    async def judge(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        """What is wrong with these; nothing is changed."""
        while True:
            try:
                return (await self._plan(missing)).cases
            except lifecycle.CodeMoved:
                # Somebody returned one of these codes between two looks at it.
                continue

    async def repair(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        """What was wrong with these; in one transaction, all that can be repaired is. Raises what asyncpg raises."""
        for _ in range(_ROUNDS_MAX):
            try:
                expected = await self._plan(missing)
                async with AsyncExitStack() as stack:
                    marks = {
                        program_id: await stack.enter_async_context(
                            possible_texts.taking_in(self._connection, program_id)
                        )
                        for program_id in sorted(expected.taken_in)
                    }
                    return await self._repair(missing, expected, marks)
            except (lifecycle.CodeMoved, asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                # Somebody was at these codes or requests at the same time.
                continue
        return await self._repair_none(missing)

    async def _repair_none(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        cases = await self.judge(missing)
        why = "Others change these codes without end: stop the issuers and run it again."
        return [case._replace(can_repair=False, detail=why) if case.can_repair else case for case in cases]

    async def _repair(
        self, missing: Sequence[MissingAnswer], expected: RepairPlan, marks: Mapping[int, UUID | None]
    ) -> list[RepairCase]:
        connection = self._connection
        async with connection.transaction():
            await hold_deciding_lock(connection)
            await connection.execute(_LOCK_PROGRAMS, sorted(expected.taken_in))
            for program_id, mark in marks.items():
                if not await possible_texts.may_take_in(connection, program_id, mark):
                    raise lifecycle.CodeMoved
            places = sorted(expected.attached)
            columns = [block for block, _ in places], [position for _, position in places]
            await connection.execute(_LOCK_STATES, *columns)
            await connection.execute(_LOCK_BLOCKS, columns[0])
            plan = await self._plan(missing)
            if not plan.is_like(expected):
                raise lifecycle.CodeMoved
            await connection.execute(_TAKE_OUT, *columns)
            await connection.execute(_STEP_OVER, columns[0])
            await self._write(plan)
        return plan.cases

    async def _write(self, plan: RepairPlan) -> None:
        spots: dict[tuple[int, str], tuple[int, int]] = {}
        for program_id, texts in plan.taken_in.items():
            given_at = min(row.answered_at for row in plan.rows if row.program_id == program_id and row.code in texts)
            block_id = await self._connection.fetchval(_TAKE_IN, program_id, texts, len(texts), given_at)
            spots |= {(program_id, text): (block_id, position) for position, text in enumerate(texts)}

        def placed(row: AnswerRow) -> AnswerRow:
            spot = spots.get((row.program_id or 0, row.code or ""))
            return row if spot is None or row.preview else row._replace(block_id=spot[0], position=spot[1])

        rows = [placed(row) for row in plan.rows]
        await claim_queries.write(self._connection, Decision(rows, {}, {}, {}, {}, []))
        assignments = {
            key: PooledCode(row.block_id or 0, row.position or 0, row.code or "", row.expires_at, row.fields)
            for key, row in ((key, placed(row)) for key, row in plan.assignments.items())
        }
        await claim_queries.assign(self._connection, assignments)

    async def _plan(self, missing: Sequence[MissingAnswer]) -> RepairPlan:
        connection = self._connection
        now = await connection.fetchval("SELECT statement_timestamp()")
        stored = await stored_by_request(connection, [one.answer.request_id for one in missing])
        spots = await self._spots(missing)
        plan = RepairPlan()
        for one, of_answer in zip(missing, spots, strict=True):
            answer = one.answer
            if answer.request_id in stored:
                add(plan, "two_answers", answer, None, "The database has another answer to the same request.")
            elif one.other_place is not None:
                add(plan, "two_answers", answer, None, f"{one.other_place} has another answer to the same request.")
            judge(plan, one, of_answer, now, is_first=answer.request_id not in stored and one.other_place is None)
        return plan

    async def _spots(self, missing: Sequence[MissingAnswer]) -> list[list[CodeSpot]]:
        """Of each answer, what can be done about each of its codes."""
        names = {code.program for one in missing for code in one.answer.codes}
        rows = await self._connection.fetch(_PROGRAMS, sorted(names))
        programs = {row["name"]: KnownProgram(*(row[field] for field in KnownProgram._fields)) for row in rows}
        found = await self._found(missing, programs)
        shared: dict[int, list[_Span]] = {}
        for program_id, start, end in await self._connection.fetch(_SHARED, [one.id for one in programs.values()]):
            shared.setdefault(program_id, []).append((start, end))

        def spot(one: MissingAnswer, code: PublishedCode) -> CodeSpot:
            program = programs.get(code.program)
            if program is None or one.answer.preview:
                why = f"The database has no program {code.program}: make it again, then run this again."
                return CodeSpot(code, program, None, "no", "" if program else why)
            written_at = one.answer.written_at
            is_everybodys = any(
                start <= written_at + _SLACK and (end is None or end > written_at - _SLACK)
                for start, end in shared.get(program.id, [])
            )
            first = None if is_everybodys else one.first_holders.get((code.program, code.text))
            return spot_of(code, program, found.get((program.id, code.text)), one.answer.profile_id, first,
                         is_everybodys=is_everybodys)  # fmt: skip

        return [[spot(one, code) for code in one.answer.codes] for one in missing]

    async def _found(
        self, missing: Sequence[MissingAnswer], programs: Mapping[str, KnownProgram]
    ) -> dict[tuple[int, str], tuple[LocatedCode, CodeFacts]]:
        """Where the codes of these answers are and what is known of each, by program and text."""
        texts: dict[int, list[str]] = {}
        for one in missing:
            for code in () if one.answer.preview else one.answer.codes:
                if code.program in programs:
                    texts.setdefault(programs[code.program].id, []).append(code.text)
        found = {}
        for program_id, wanted in texts.items():
            codes = ProgramCodes(self._connection, self._minters, program_id)
            located = await lookup.locate_all(codes, wanted)
            there = [(text, at) for text, at in zip(wanted, located, strict=True) if at is not None]
            facts = await lookup.facts_of(
                codes,
                [at for _, at in there],
                [text for text, _ in there],
            )
            for (text, at), fact in zip(there, facts, strict=True):
                if fact is None:
                    raise lifecycle.CodeMoved
                found[program_id, text] = (at, fact)
        return found
