"""Restores answers that a fail-over lost from the database, unless another profile has their codes.

A restored answer is the answer of its request again, and its codes are attached to its profile.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from codewell.codes import lifecycle, lookup, possible_texts
from codewell.codes.locks import lock_blocks, lock_codes
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.infra.postgres.columns import columns_of
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.assignments import assign
from codewell.issuing.decision import Decision
from codewell.issuing.model import AnswerRow, PooledCode
from codewell.pool import folded_texts
from codewell.pool.minter_cache import Minters
from codewell.pool.program_conditions import ROOM
from codewell.profiles.deciding_lock import hold_deciding_lock
from codewell.recovery.reconciliation import MissingAnswer, PublishedCode, stored_by_request
from codewell.recovery.repair_plan import (
    AssessedCode,
    KnownProgram,
    RepairCase,
    RepairPlan,
    add_case,
    assess_code,
    plan_answer,
)

_ATTEMPTS_MAX: Final = 10
# Tolerance for the clocks of issuers.
_CLOCK_SKEW_MAX: Final = timedelta(minutes=2)

_PROGRAMS: Final = f"""
    SELECT id, name, shared, reuse, {ROOM} AS room, on_order, source->>'kind' AS codes_from
    FROM program p WHERE name = ANY($1::text[])
    """  # noqa: S608  a constant
_LOCK_PROGRAMS: Final = "SELECT FROM program WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_SHARED: Final = """
    SELECT program_id, held_from, held_until FROM (
        SELECT *, lead(held_from) OVER (PARTITION BY program_id ORDER BY held_from, id) AS held_until
        FROM program_history WHERE program_id = ANY($1::bigint[])) h
    WHERE shared
    """
_ATTACH_CODES: Final = """
    WITH taken AS (
        UPDATE code_state s SET hole = true FROM unnest($1::bigint[], $2::bigint[]) AS t (block_id, position)
        WHERE s.block_id = t.block_id AND s.position = t.position RETURNING s.block_id
    ), counted AS (SELECT block_id, count(*) AS count FROM taken GROUP BY block_id)
    UPDATE block SET attached = attached + count, holes = holes + count, open = open AND next + holes + count < size,
        reserved_used = reserved_used + CASE WHEN reservation_id IS NULL THEN 0 ELSE count END,
        reserved_open = reserved_open AND next + holes + count < size AND reserved_used + count < reserved_size
    FROM counted WHERE id = block_id
    """
# Moves `next` past the holes that a claim would skip first, so that no claim has to scan them all.
_ADVANCE_BLOCKS: Final = """
    WITH stepped AS (
        SELECT block_id, count(*) AS count FROM (
            SELECT s.block_id, s.position, b.next - 1 + row_number() OVER (PARTITION BY b.id ORDER BY s.position) AS nth
            FROM code_state s JOIN block b ON b.id = s.block_id
            WHERE b.id = ANY($1::bigint[]) AND s.hole AND s.position >= b.next) h
        WHERE position = nth GROUP BY block_id)
    UPDATE block SET next = next + count, holes = holes - count FROM stepped WHERE id = block_id
    """
# A deleted code that has a profile counts by its own state, and not as one that was deleted with its block's pool: an
# undo of that would give it to others. The state is written anew after the answer, so that the stream of codes has the
# deletion after the attachment.
_FORGET_DELETED: Final = """
    DELETE FROM code_state s USING block b WHERE b.id = s.block_id
      AND (s.block_id, s.position) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
    RETURNING s.block_id, s.position, coalesce(s.deleted_at, b.voided_at), (s.deleted_at IS NULL)::integer
    """
_DELETE_AGAIN: Final = """
    WITH given AS (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::integer[])
            AS g (block_id, position, deleted_at, voided)
    ), counted AS (
        UPDATE block SET voided = block.voided - g.voided
        FROM (SELECT block_id, sum(voided) AS voided FROM given GROUP BY block_id) g WHERE id = g.block_id
    )
    INSERT INTO code_state (block_id, position, deleted_at, hole)
    SELECT block_id, position, deleted_at, true FROM given ORDER BY 1, 2
    """
_ADD_CODES: Final = f"""
    WITH held AS (
        INSERT INTO block (program_id, kind, size, next, attached, open, origin, created_at)
        VALUES ($1, 'list', $3, $3, $3, false, 'hand', $4) RETURNING id
    ), counted AS (
        UPDATE program SET imported = imported + $3, {folded_texts.COUNT_FOLDED.format(number="$3")} WHERE id = $1
    ), listed AS (
        INSERT INTO code (block_id, position, program_id, text)
        SELECT id, t.n - 1, $1, t.text FROM held CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS t (text, n)
    )
    SELECT id FROM held
    """  # noqa: S608  a constant

_Span = tuple[datetime, datetime | None]


class Repair:
    """Plans and repairs answers that the database does not have."""

    def __init__(self, connection: Connection, minters: Minters) -> None:
        self._connection = connection
        self._minters = minters

    async def plan(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        """The cases of these answers, without a change."""
        while True:
            try:
                return (await self._plan(missing)).cases
            except lifecycle.CodeMoved:
                # One of these codes was returned between two reads.
                continue

    async def repair(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        """Repair all that can be repaired in one transaction, and return the cases. Raises what asyncpg raises."""
        for _ in range(_ATTEMPTS_MAX):
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
                # A concurrent transaction changed these codes or requests.
                continue
        return await self._repair_none(missing)

    async def _repair_none(self, missing: Sequence[MissingAnswer]) -> list[RepairCase]:
        cases = await self.plan(missing)
        why = "Other processes keep changing these codes: stop the issuers and run it again."
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
            columns = columns_of(sorted(expected.attached), 2)
            places = sorted(expected.attached + expected.deleted)
            await lock_codes(connection, places)
            await lock_blocks(connection, [block_id for block_id, _ in places])
            plan = await self._plan(missing)
            if not plan.is_like(expected):
                raise lifecycle.CodeMoved
            await connection.execute(_ATTACH_CODES, *columns)
            await connection.execute(_ADVANCE_BLOCKS, columns[0])
            await self._write(plan)
            deleted = await connection.fetch(_FORGET_DELETED, *columns_of(plan.deleted, 2))
            await connection.execute(_DELETE_AGAIN, *columns_of(deleted, 4))
        return plan.cases

    async def _write(self, plan: RepairPlan) -> None:
        findings: dict[tuple[int, str], tuple[int, int]] = {}
        for program_id, texts in plan.taken_in.items():
            given_at = min(row.answered_at for row in plan.rows if row.program_id == program_id and row.code in texts)
            block_id = await self._connection.fetchval(_ADD_CODES, program_id, texts, len(texts), given_at)
            if await folded_texts.folds(self._connection, program_id):
                await folded_texts.add(self._connection, program_id, texts)
            findings |= {(program_id, text): (block_id, position) for position, text in enumerate(texts)}

        def placed(row: AnswerRow) -> AnswerRow:
            finding = findings.get((row.program_id or 0, row.code or ""))
            return row if finding is None or row.preview else row._replace(block_id=finding[0], position=finding[1])

        rows = [placed(row) for row in plan.rows]
        links = Counter((row.asked_program_id, row.link) for row in rows if row.asked_program_id and row.link)
        await claim_queries.write(self._connection, Decision.empty()._replace(rows=rows, fallbacks=links))
        assignments = {
            key: PooledCode(row.block_id or 0, row.position or 0, row.code or "", row.expires_at, row.fields)
            for key, row in ((key, placed(row)) for key, row in plan.assignments.items())
        }
        await assign(self._connection, assignments)

    async def _plan(self, missing: Sequence[MissingAnswer]) -> RepairPlan:
        connection = self._connection
        now = await connection.fetchval("SELECT statement_timestamp()")
        stored = await stored_by_request(connection, [one.answer.request_id for one in missing])
        findings = await self._assess_codes(missing)
        plan = RepairPlan()
        for one, findings_of_answer in zip(missing, findings, strict=True):
            answer = one.answer
            if answer.request_id in stored:
                add_case(plan, "two_answers", answer, None, "The database has another answer to the same request.")
            elif one.other_place is not None:
                add_case(
                    plan, "two_answers", answer, None, f"{one.other_place} has another answer to the same request."
                )
            plan_answer(
                plan, one, findings_of_answer, now, is_first=answer.request_id not in stored and one.other_place is None
            )
        return plan

    async def _assess_codes(self, missing: Sequence[MissingAnswer]) -> list[list[AssessedCode]]:
        """Assess the codes of each answer; one list an answer."""
        names = {name for one in missing for code in one.answer.codes for name in (code.program, code.asked) if name}
        rows = await self._connection.fetch(_PROGRAMS, sorted(names))
        programs = {row["name"]: KnownProgram(*(row[field] for field in KnownProgram._fields)) for row in rows}
        found = await self._locate_codes(missing, programs)
        shared: dict[int, list[_Span]] = {}
        for program_id, start, end in await self._connection.fetch(_SHARED, [one.id for one in programs.values()]):
            shared.setdefault(program_id, []).append((start, end))

        def finding(one: MissingAnswer, code: PublishedCode) -> AssessedCode:
            program = programs.get(code.program)
            asked = None if code.asked is None else programs.get(code.asked)
            unknown = code.program if program is None else code.asked if code.asked and asked is None else None
            if program is None or unknown or one.answer.preview:
                why = f"The database has no program {unknown}: create it, then run this again."
                return AssessedCode(code, program, None, "no", why if unknown else "")
            written_at = one.answer.written_at
            is_everybodys = any(
                start <= written_at + _CLOCK_SKEW_MAX and (end is None or end > written_at - _CLOCK_SKEW_MAX)
                for start, end in shared.get(program.id, [])
            )
            first = None if is_everybodys else one.first_holders.get((code.program, code.text))
            assessed = assess_code(code, program, found.get((program.id, code.text)), one.answer.profile_id, first,
                                   is_everybodys=is_everybodys, random_ids=one.random_ids)  # fmt: skip
            return assessed if asked is None else assessed._replace(asked_id=asked.id)

        return [[finding(one, code) for code in one.answer.codes] for one in missing]

    async def _locate_codes(
        self, missing: Sequence[MissingAnswer], programs: Mapping[str, KnownProgram]
    ) -> dict[tuple[int, str], tuple[LocatedCode, CodeFacts]]:
        """Locations and facts of the answers' codes, by program id and text."""
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
