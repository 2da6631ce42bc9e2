"""Programs as people look at them: made, read, listed, and their stock."""

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from schemas.program import Program, ProgramSettings, Stock
from services.codes.minter import ALGORITHM
from services.codes.strength import check_guessing, check_space
from services.codes.template import Template
from services.errors import ProgramRefused, ProgramTaken, ProgramUnknown
from services.postgres.connection import Connection
from services.store.minters import Minters

_KEY_BYTES: Final = 32
# A program without an end is judged as if its codes could be guessed at for a year.
_LIFE_DEFAULT: Final = timedelta(days=365)

_COLUMNS: Final = """
    id, name, title, description, groups, active AND removed_at IS NULL AS active, valid_from, valid_until, source,
    scenario_can_create, campaign_can_create, shared, codes_max, pool_max, ttl, ttl_from, fields, reuse,
    allow_guessable
    """

_STOCK: Final = """
    SELECT p.name AS program, p.made, p.imported, b.pooled, b.attached, b.expired, b.deleted,
           (SELECT count(*) FROM code_state s JOIN block ON block.id = s.block_id
            WHERE block.program_id = p.id AND s.activated_at IS NOT NULL AND s.deleted_at IS NULL
              AND s.returned_at IS NULL) AS activated,
           p.codes_max, p.pool_max
    FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum(size - next - holes) FILTER (WHERE NOT over), 0)::bigint AS pooled,
               coalesce(sum(size - next - holes) FILTER (WHERE over), 0)::bigint AS expired,
               coalesce(sum(attached), 0)::bigint AS attached,
               coalesce(sum(deleted), 0)::bigint AS deleted
        FROM (SELECT *, coalesce(expires_at <= now(), false) AS over FROM block WHERE program_id = p.id) b
    ) b WHERE p.name = $1
    """


async def create(connection: Connection, minters: Minters, settings: ProgramSettings, guesses_per_s: float) -> Program:
    """Make a program and the secret key of its template. `guesses_per_s` is what an attacker may try.

    Raises TemplateInvalid when the template can't be read, is too small or can be guessed, and ProgramTaken when
    the name is taken.
    """
    template = Template.parse(settings.source.template)
    check_space(template, settings.codes_max)
    if not settings.allow_guessable:
        check_guessing(template, settings.codes_max, _life(settings).total_seconds(), guesses_per_s)
    key, wrapped = minters.wrapped(secrets.token_bytes(_KEY_BYTES))
    given = settings.model_dump()
    given |= {
        "groups": list(settings.groups),
        "source": settings.source.model_dump_json(),
        "fields": json.dumps(given["fields"]),
    }
    del given["auto_link"]
    columns = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    async with connection.transaction():
        try:
            program_id = await connection.fetchval(
                f"INSERT INTO program ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608  names of model fields
                *given.values(),
            )
        except asyncpg.UniqueViolationError as error:
            raise ProgramTaken(f"There is a program {settings.name} already: choose another short name.") from error
        await connection.execute(
            "INSERT INTO template_version (program_id, version, template, algorithm, key, key_wrapped) "
            "VALUES ($1, 1, $2, $3, $4, $5)",
            program_id,
            settings.source.template,
            ALGORITHM,
            key,
            wrapped,
        )
    return Program(id=program_id, **settings.model_dump())


async def get(connection: Connection, name: str) -> Program:
    """The program of this short name. Raises ProgramUnknown when there is none."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM program WHERE name = $1", name)  # noqa: S608  a constant
    if row is None:
        raise ProgramUnknown(name)
    return _program(row)


async def list_all(connection: Connection) -> list[Program]:
    """All programs that are not removed, by name."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM program WHERE removed_at IS NULL ORDER BY name"  # noqa: S608  a constant
    )
    return [_program(row) for row in rows]


async def page(connection: Connection, groups: Sequence[str], after: str, limit: int) -> list[Program]:
    """Up to `limit` programs that are not removed and whose name is after `after`, by name.

    Only those with one of these access groups; no group is all programs.
    """
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM program WHERE removed_at IS NULL AND name > $2 "  # noqa: S608  a constant
        "AND ($1::text[] = '{}' OR groups && $1) ORDER BY name LIMIT $3",
        list(groups),
        after,
        limit,
    )
    return [_program(row) for row in rows]


async def stock(connection: Connection, name: str) -> Stock:
    """Where the program's codes are now. Raises ProgramUnknown when there is no such program."""
    row = await connection.fetchrow(_STOCK, name)
    if row is None:
        raise ProgramUnknown(name)
    return Stock(**row)


def saved_fields(program: Program, given: Mapping[str, str]) -> dict[str, str]:
    """Which of the given custom fields are saved on codes. Raises ProgramRefused for unknown or missing ones."""
    known = {field.name: field for field in program.fields}
    for name in given:
        if name not in known:
            raise ProgramRefused(f"{program.name} has no field {name}: it has {', '.join(known) or 'none'}.")
    for field in program.fields:
        if field.required and field.name not in given:
            raise ProgramRefused(f"{program.name} asks for the field {field.name}: give it with {field.name}=VALUE.")
    return {name: value for name, value in given.items() if known[name].save}


def _program(row: asyncpg.Record) -> Program:
    return Program(**{**row, "source": json.loads(row["source"]), "fields": json.loads(row["fields"])})


def _life(settings: ProgramSettings) -> timedelta:
    """How long codes of the program can be guessed at: from its start to the end of its last code."""
    if settings.valid_until is None:
        return _LIFE_DEFAULT
    start = settings.valid_from or datetime.now(UTC)
    return max(settings.valid_until - start, timedelta(0)) + (settings.ttl or timedelta(0))
