"""What the database itself refuses, whoever writes to it: each constraint forbids one broken promise."""

from typing import NamedTuple

import asyncpg
import pytest

from codewell.infra.postgres.connection import Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from tests.support.factories import message, program

_AGAIN = (
    "INSERT INTO answer (request_id, ordinal, program_id, block_id, position, again, profile_id, code) "
    "SELECT gen_random_uuid(), 0, program_id, block_id, position, {again}, profile_id, code FROM answer"
)
_BLOCK = "INSERT INTO block (program_id, kind, version, first, size, origin) VALUES (1, 'range', 1, {first}, 5, 'pool')"
_LIST = "INSERT INTO block (program_id, kind, size, origin) VALUES (1, 'list', 2, 'generate')"
_ANSWER = "INSERT INTO answer (request_id, ordinal, profile_id, {columns}) VALUES (gen_random_uuid(), {values})"

_ORDERED = (
    "INSERT INTO remote_request (program_id, count, fields, origin, state, finished_at, received) "
    "VALUES (1, 5, '{{}}', 'pool', '{state}', {finished}, {received})"
)


class Forbidden(NamedTuple):
    """A statement, and the constraint that refuses it; None where it is allowed."""

    statement: str
    constraint: str | None


CASES = (
    Forbidden(_AGAIN.format(again=False), "answer_code_once"),
    Forbidden(_AGAIN.format(again=True), None),
    Forbidden("INSERT INTO answer SELECT * FROM answer", "answer_once"),
    Forbidden("INSERT INTO answer (request_id, ordinal, profile_id, refusals) "
              "SELECT request_id, 0, profile_id, '[]' FROM answer", "answer_once"),
    Forbidden("UPDATE block SET next = size + 1, attached = size + 1", "block_not_overrun"),
    Forbidden("UPDATE block SET next = -1, holes = attached + 1", "block_not_overrun"),
    Forbidden("UPDATE block SET attached = size, deleted = 1", "block_conserved"),
    Forbidden("UPDATE block SET attached = attached - 1, returned = 2", "block_conserved"),
    Forbidden("UPDATE block SET attached = -1", "block_attached_check"),
    Forbidden("UPDATE block SET next = next + 1, holes = -1", "block_holes_check"),
    Forbidden(_BLOCK.format(first=9), "block_numbers_once"),
    Forbidden(_BLOCK.format(first=10), None),
    Forbidden("UPDATE program SET made = codes_max + 1", "program_maximum"),
    Forbidden("UPDATE program SET imported = codes_max - made + 1", "program_maximum"),
    Forbidden("UPDATE program SET on_order = codes_max - made + 1", "program_maximum"),
    Forbidden("UPDATE program SET codes_max = 9, pool_max = 9", "program_maximum"),
    Forbidden("UPDATE program SET codes_max = 10, pool_max = 10", None),
    Forbidden(f"{_LIST}; INSERT INTO code VALUES (2, 0, 1, 'A'), (2, 1, 1, 'A')", "code_once"),
    Forbidden(f"{_LIST}; INSERT INTO code VALUES (2, 0, 1, 'A'), (2, 1, 1, 'a')", None),
    Forbidden("UPDATE program SET on_order = -1", "program_on_order_check"),
    Forbidden(_ORDERED.format(state="done", finished="now()", received=6), "remote_request_not_exceeded"),
    Forbidden(_ORDERED.format(state="open", finished="now()", received=0), "remote_request_check"),
    Forbidden(_ORDERED.format(state="given_up", finished="now()", received=1), "remote_request_check1"),
    Forbidden(_ORDERED.format(state="done", finished="now()", received=5), None),
    Forbidden("INSERT INTO remote_secret (program_id, secret, wrapped) VALUES (1, 'a', false), (1, 'b', false)",
              "remote_secret_newest"),
    # Half an answer is none: a refusal has no code, a code has its place, a preview has a code and no place.
    Forbidden(_ANSWER.format(columns="refusals, code", values="0, 'p', '[]', 'A'"), "answer_check"),
    Forbidden(_ANSWER.format(columns="refusals", values="1, 'p', '[]'"), "answer_check"),
    Forbidden(_ANSWER.format(columns="program_id", values="0, 'p', 1"), "answer_check"),
    Forbidden(_ANSWER.format(columns="program_id, code", values="0, 'p', 1, 'A'"), "answer_check"),
    Forbidden(_ANSWER.format(columns="program_id, preview", values="0, 'p', 1, true"), "answer_check"),
    Forbidden(
        _ANSWER.format(columns="program_id, code, block_id, position, preview", values="0, 'p', 1, 'A', 1, 9, true"),
        "answer_check",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.constraint}" for number, case in enumerate(CASES)])
async def test_the_database_refuses_what_must_never_be(
    connection: Connection, claims: Claims, minters: Minters, case: Forbidden
) -> None:
    spring = await program(connection, minters)
    await generate(connection, minters, spring.id, 10, None)
    await claims.attach([message("SPRING")])

    if case.constraint is None:
        await connection.execute(case.statement)
        return
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as raised:
        await connection.execute(case.statement)
    assert raised.value.constraint_name == case.constraint
