"""Programs as people look at them: made, changed, read, listed, and their stock."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import possible_texts
from codewell.errors import ProgramRefused, ProgramTaken, ProgramUnknown, TemplateInvalid
from codewell.files.csv_writer import harmless
from codewell.infra.postgres.connection import Connection
from codewell.minting.strength import check_guessing, check_space
from codewell.minting.template import Template
from codewell.pool import orders
from codewell.pool.block_rules import AVAILABLE, POOLED, UNEXPIRED
from codewell.pool.minter_cache import Minters
from codewell.programs import template_versions
from codewell.remote import signing_secrets
from schemas.program import Program, ProgramSettings, Stock

# A program without an end is judged as if its codes could be guessed at for a year.
_LIFE_DEFAULT: Final = timedelta(days=365)

_COLUMNS: Final = """
    id, name, title, description, groups, active AND removed_at IS NULL AS active, valid_from, valid_until, source,
    scenario_can_create, campaign_can_create, shared, auto_link, codes_max, pool_max, ttl, ttl_from, fields, reuse,
    allow_guessable
    """

_OVERVIEW: Final = f"""
    SELECT {_COLUMNS}, made + imported AS had, coalesce(b.pooled, 0) AS pooled,
           CASE WHEN NOT active THEN 'off' WHEN valid_from > now() THEN 'not started'
                WHEN valid_until <= now() THEN 'ended' ELSE 'active' END AS state
    FROM program LEFT JOIN (
        SELECT program_id, sum({POOLED})::bigint AS pooled FROM block WHERE {AVAILABLE} GROUP BY program_id
    ) b ON b.program_id = id WHERE removed_at IS NULL ORDER BY name
    """  # noqa: S608  constants

_STOCK: Final = f"""
    SELECT p.name AS program, p.made, p.imported, b.pooled, b.attached, b.expired, b.deleted,
           (SELECT count(*) FROM code_state s JOIN block ON block.id = s.block_id
            WHERE block.program_id = p.id AND s.activated_at IS NOT NULL AND s.deleted_at IS NULL
              AND s.returned_at IS NULL) AS activated,
           p.on_order, p.codes_max, p.pool_max
    FROM program p CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}) FILTER (WHERE {UNEXPIRED}), 0)::bigint AS pooled,
               coalesce(sum({POOLED}) FILTER (WHERE NOT {UNEXPIRED}), 0)::bigint AS expired,
               coalesce(sum(attached), 0)::bigint AS attached,
               coalesce(sum(deleted), 0)::bigint AS deleted
        FROM block WHERE program_id = p.id
    ) b WHERE p.name = $1
    """  # noqa: S608  constants


class ProgramSummary(NamedTuple):
    """A program, whether it gives codes now, how many stand ready, and how many it has had."""

    program: Program
    state: Literal["active", "off", "not started", "ended"]
    pooled: int
    had: int


def check(settings: ProgramSettings, guesses_per_s: float) -> None:
    """Raise TemplateInvalid when a new program's template can't be read, is too small or can be guessed."""
    if settings.source.kind == "template":
        template = Template.parse(settings.source.template)
        check_space(template, settings.codes_max)
        _check_guessing(template, settings, guesses_per_s)
        _check_begin(template)


async def check_name(connection: Connection, name: str) -> None:
    """Raise ProgramRefused when a program has this name or had it before it was removed."""
    if await connection.fetchval("SELECT EXISTS (SELECT FROM program WHERE name = $1)", name):
        raise _taken(name)


async def create(connection: Connection, minters: Minters, settings: ProgramSettings, guesses_per_s: float) -> Program:
    """Make a program, and the secret key of its template or the secret that its remote service knows it by.

    `guesses_per_s` is what an attacker may try. Raises TemplateInvalid when the template can't be read, is too small
    or can be guessed, and ProgramTaken when the name is taken.
    """
    check(settings, guesses_per_s)
    given = _row(settings)
    columns = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    async with connection.transaction():
        try:
            program_id = await connection.fetchval(
                f"INSERT INTO program ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608  names of model fields
                *given.values(),
            )
        except asyncpg.UniqueViolationError as error:
            raise _taken(settings.name) from error
        if settings.source.kind == "template":
            await template_versions.add(connection, minters, program_id, 1, settings.source.template)
        if settings.source.kind == "remote":
            await orders.add_service(connection, program_id)
            await signing_secrets.in_force(connection, minters, program_id)
    return Program(id=program_id, **settings.model_dump())


async def update(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    actor: Actor | None = None,
) -> Program:  # fmt: skip
    """Change the settings that `changes` names, by the names that a program's JSON has; None stands for the default.

    Logs who did it.

    A new template is a new version with a new key: what was made before stays valid, and stays in the pool. Raises
    pydantic's ValidationError when the settings that would result can't be, TemplateInvalid when the template is too
    small for what may still be made or can be guessed, and ProgramRefused for a program that is not there or removed,
    another name, another kind of source, a maximum below what the program has had, or a shared code that is to be
    shared no more. Then nothing is changed.
    """
    if changes.keys().isdisjoint({"source", "codes_max"}):
        return await _update(connection, minters, name, changes, guesses_per_s, None, actor)
    while True:
        program_id = (await get(connection, name)).id
        async with possible_texts.changing(connection, program_id) as mark:
            with contextlib.suppress(_Overtaken):
                return await _update(connection, minters, name, changes, guesses_per_s, mark, actor)


class _Overtaken(Exception):
    """Somebody else changes the program just now."""


async def _update(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    mark: UUID | None, actor: Actor | None,
) -> Program:  # fmt: skip
    async with connection.transaction():
        row = await _locked(connection, name)
        if mark is not None and not await possible_texts.is_mine(connection, row["id"], mark):
            raise _Overtaken
        present = _program(row)
        kept = {**present.model_dump(exclude={"id"}), **changes}
        settings = ProgramSettings.model_validate({key: value for key, value in kept.items() if value is not None})
        _check_change(present, settings, row)
        version = row["version"]
        if settings.source.kind == "template":
            template = Template.parse(settings.source.template)
            version += settings.source != present.source
            may_be_made = settings.codes_max - row["made"] - row["imported"]
            await template_versions.check_room(connection, present.id, version, template, row["imported"], may_be_made)
            _check_guessing(template, settings, guesses_per_s)
            if version != row["version"]:
                _check_begin(template)
                await template_versions.add(connection, minters, present.id, version, settings.source.template)
        given = {**_row(settings), "version": version}
        del given["name"]
        columns = ", ".join(f"{column} = ${number}" for number, column in enumerate(given, start=2))
        await connection.execute(
            f"UPDATE program SET {columns} WHERE id = $1",  # noqa: S608  names of model fields
            present.id,
            *given.values(),
        )
        if actor is not None:
            await audit_log.record(connection, actor, "program.update", name, changed=sorted(changes))
    return Program(id=present.id, **settings.model_dump())


async def clone(connection: Connection, minters: Minters, name: str, new_name: str, guesses_per_s: float) -> Program:
    """Make a program with the settings of another, removed or not, under a new name: no codes, and a key of its own.

    Raises what `create` raises, and pydantic's ValidationError for a name that can't be one.
    """
    settings = (await get(connection, name)).model_dump(exclude={"id"})
    return await create(
        connection, minters, ProgramSettings.model_validate({**settings, "name": new_name}), guesses_per_s
    )


async def set_active(connection: Connection, name: str, active: bool) -> Program:
    """Switch a program on or off. Raises ProgramRefused when it is not there or removed."""
    async with connection.transaction():
        present = _program(await _locked(connection, name))
        await connection.execute("UPDATE program SET active = $2 WHERE id = $1", present.id, active)
    return present.model_copy(update={"active": active})


async def remove(connection: Connection, name: str) -> Program:
    """Take a program away for good: nothing is made or given any more, and no list of programs has it.

    What it had stays on record: `get` and its codes are found by its name, which is never used again. Raises
    ProgramRefused when it is not there or removed already.
    """
    async with connection.transaction():
        present = _program(await _locked(connection, name))
        await connection.execute("UPDATE program SET removed_at = now() WHERE id = $1", present.id)
    return present.model_copy(update={"active": False})


async def get(connection: Connection, name: str) -> Program:
    """The program of this short name; one that was removed is found too, and is not active. Raises ProgramUnknown."""
    row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM program WHERE name = $1", name)  # noqa: S608  a constant
    if row is None:
        raise ProgramUnknown(name)
    return _program(row)


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


async def overview(connection: Connection) -> list[ProgramSummary]:
    """All programs that are not removed, by name, with what a person wants to see at a glance."""
    rows = await connection.fetch(_OVERVIEW)
    return [ProgramSummary(_program(row), row["state"], row["pooled"], row["had"]) for row in rows]


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


async def _locked(connection: Connection, name: str) -> asyncpg.Record:
    """The program's row, locked against everybody who makes codes or changes it. Raises ProgramRefused."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS}, made, imported, on_order, version, removed_at IS NOT NULL AS removed, "  # noqa: S608  a constant
        "EXISTS (SELECT FROM block WHERE program_id = program.id AND next > 0) AS given "
        "FROM program WHERE name = $1 FOR NO KEY UPDATE",
        name,
    )
    if row is None:
        raise ProgramUnknown(name)
    if row["removed"]:
        raise ProgramRefused(f"{name} was removed and can't be changed: clone it under another short name.")
    return row


def _taken(name: str) -> ProgramTaken:
    return ProgramTaken(f"There is a program {name} already, or was one: choose another short name.")


def _check_change(present: ProgramSettings, settings: ProgramSettings, row: asyncpg.Record) -> None:
    if settings.name != present.name:
        raise ProgramRefused(f"The short name of {present.name} can't change: clone it under the new one.")
    if settings.source.kind != present.source.kind:
        raise ProgramRefused(f"Where the codes of {present.name} come from can't change: make a new program.")
    if present.shared and not settings.shared and row["given"]:
        raise ProgramRefused(f"{present.name} has given one code to everybody: clone it to give each profile its own.")
    had = row["made"] + row["imported"]
    if settings.codes_max < had:
        raise ProgramRefused(f"{present.name} has had {had:,} codes: its maximum can't be lower than that.")
    if settings.codes_max < had + row["on_order"]:
        raise ProgramRefused(
            f"{present.name} has had {had:,} codes and {row['on_order']:,} more are on order: its maximum can't be "
            "lower than both together."
        )


def _check_guessing(template: Template, settings: ProgramSettings, guesses_per_s: float) -> None:
    if not settings.allow_guessable:
        check_guessing(template, settings.codes_max, _life(settings).total_seconds(), guesses_per_s)


def _check_begin(template: Template) -> None:
    """Codes are pasted into spreadsheets by hand too, where no export puts an apostrophe in front of them."""
    if harmless(template.text) != template.text:
        begin = template.text.lstrip()[:1]
        raise TemplateInvalid(
            f"A spreadsheet would run codes that begin with {begin} as formulas: begin with another character, or "
            f"write {{[{begin}] 1}} if it is meant."
        )


def _row(settings: ProgramSettings) -> dict[str, Any]:
    """The settings by column."""
    return settings.model_dump() | {
        "groups": list(settings.groups),
        "source": settings.source.model_dump_json(),
        "fields": json.dumps([field.model_dump() for field in settings.fields]),
    }


def _program(row: asyncpg.Record) -> Program:
    given = {name: row[name] for name in Program.model_fields if name in row}
    return Program(**{**given, "source": json.loads(row["source"]), "fields": json.loads(row["fields"])})


def _life(settings: ProgramSettings) -> timedelta:
    """How long codes of the program can be guessed at: from its start to the end of its last code."""
    if settings.valid_until is None:
        return _LIFE_DEFAULT
    start = settings.valid_from or datetime.now(UTC)
    return max(settings.valid_until - start, timedelta(0)) + (settings.ttl or timedelta(0))
