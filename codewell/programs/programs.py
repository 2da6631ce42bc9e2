"""Creates, changes, reads, lists and removes programs."""

import contextlib
from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import possible_texts
from codewell.errors import ProgramRefused, ProgramTaken, ProgramUnknown
from codewell.infra.postgres.connection import Connection
from codewell.minting.template import Template
from codewell.pool import orders
from codewell.pool.minter_cache import Minters
from codewell.programs import template_versions
from codewell.programs.rows import COLUMNS, columns_of, program_of
from codewell.programs.settings_rules import check_begin, check_change, check_guessable, check_settings
from codewell.remote import signing_secrets
from schemas.program import Program, ProgramSettings


async def check_name(connection: Connection, name: str) -> None:
    """Raise ProgramRefused if a program has this name, or had it before its removal."""
    if await connection.fetchval("SELECT EXISTS (SELECT FROM program WHERE name = $1)", name):
        raise _name_taken(name)


async def create(connection: Connection, minters: Minters, settings: ProgramSettings, guesses_per_s: float) -> Program:
    """Create a program, with the secret key of its template or the signing secret for its remote service.

    `guesses_per_s` is the assumed rate of an attacker. Raises TemplateInvalid if the template is malformed, too small
    or guessable, and ProgramTaken if the name is taken.
    """
    check_settings(settings, guesses_per_s)
    given = columns_of(settings)
    columns = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    async with connection.transaction():
        try:
            program_id = await connection.fetchval(
                f"INSERT INTO program ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608  names of model fields
                *given.values(),
            )
        except asyncpg.UniqueViolationError as error:
            raise _name_taken(settings.name) from error
        if settings.source.kind == "template":
            await template_versions.add(connection, minters, program_id, 1, settings.source.template)
        if settings.source.kind == "remote":
            await orders.add_service(connection, program_id)
            await signing_secrets.active_secrets(connection, minters, program_id)
    return Program(id=program_id, **settings.model_dump())


async def update(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    actor: Actor | None = None,
) -> Program:  # fmt: skip
    """Change the settings in `changes`, keyed by the names in a program's JSON; None sets the default.

    Records `actor`, if given, in the audit log.

    A new template is a new version with a new key: codes of the old one stay valid and stay in the pool. On an error
    nothing is changed. Raises pydantic's ValidationError if the resulting settings are invalid, TemplateInvalid if the
    template is guessable or too small for the codes that may still be made, and ProgramRefused for a program that does
    not exist or is removed, a change of the name or of the kind of source, a maximum below the number of codes that
    the program has had, or a shared code that would no longer be shared.
    """
    if changes.keys().isdisjoint({"source", "codes_max"}):
        return await _update(connection, minters, name, changes, guesses_per_s, None, actor)
    while True:
        program_id = (await get(connection, name)).id
        async with possible_texts.changing(connection, program_id) as mark:
            with contextlib.suppress(_ConcurrentUpdate):
                return await _update(connection, minters, name, changes, guesses_per_s, mark, actor)


class _ConcurrentUpdate(Exception):
    """A concurrent update of the program committed first."""


async def _update(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    mark: UUID | None, actor: Actor | None,
) -> Program:  # fmt: skip
    async with connection.transaction():
        row = await _lock_program(connection, name)
        if mark is not None and not await possible_texts.is_mine(connection, row["id"], mark):
            raise _ConcurrentUpdate
        present = program_of(row)
        kept = {**present.model_dump(exclude={"id"}), **changes}
        settings = ProgramSettings.model_validate({key: value for key, value in kept.items() if value is not None})
        check_change(present, settings, row)
        version = row["version"]
        if settings.source.kind == "template":
            template = Template.parse(settings.source.template)
            version += settings.source != present.source
            may_be_made = settings.codes_max - row["made"] - row["imported"]
            await template_versions.check_room(connection, present.id, version, template, row["imported"], may_be_made)
            check_guessable(template, settings, guesses_per_s)
            if version != row["version"]:
                check_begin(template)
                await template_versions.add(connection, minters, present.id, version, settings.source.template)
        given = {**columns_of(settings), "version": version}
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
    """Create a program with the settings of another, removed or not, under a new name: no codes, and a new key.

    Raises what `create` raises, and pydantic's ValidationError for an invalid name.
    """
    settings = (await get(connection, name)).model_dump(exclude={"id"})
    return await create(
        connection, minters, ProgramSettings.model_validate({**settings, "name": new_name}), guesses_per_s
    )


async def set_active(connection: Connection, name: str, active: bool) -> Program:
    """Activate or deactivate a program. Raises ProgramRefused if it does not exist or is removed."""
    async with connection.transaction():
        present = program_of(await _lock_program(connection, name))
        await connection.execute("UPDATE program SET active = $2 WHERE id = $1", present.id, active)
    return present.model_copy(update={"active": active})


async def remove(connection: Connection, name: str) -> Program:
    """Remove a program for good: it makes and gives no more codes, and no list of programs includes it.

    Its records stay: `get` and look-ups of its codes still find it by name, and the name is never used again. Raises
    ProgramRefused if it does not exist or is already removed.
    """
    async with connection.transaction():
        present = program_of(await _lock_program(connection, name))
        await connection.execute("UPDATE program SET removed_at = now() WHERE id = $1", present.id)
    return present.model_copy(update={"active": False})


async def get(connection: Connection, name: str) -> Program:
    """The program of this short name; removed programs are included, and inactive. Raises ProgramUnknown."""
    row = await connection.fetchrow(f"SELECT {COLUMNS} FROM program WHERE name = $1", name)  # noqa: S608  a constant
    if row is None:
        raise ProgramUnknown(name)
    return program_of(row)


async def page(connection: Connection, groups: Sequence[str], after: str, limit: int) -> list[Program]:
    """Up to `limit` programs that are not removed and whose name is after `after`, by name.

    Only programs with one of these access groups; empty `groups` means all programs.
    """
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM program WHERE removed_at IS NULL AND name > $2 "  # noqa: S608  a constant
        "AND ($1::text[] = '{}' OR groups && $1) ORDER BY name LIMIT $3",
        list(groups),
        after,
        limit,
    )
    return [program_of(row) for row in rows]


async def _lock_program(connection: Connection, name: str) -> asyncpg.Record:
    """Lock and return the program's row, which blocks changes and new codes. Raises ProgramRefused."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS}, made, imported, on_order, version, removed_at IS NOT NULL AS removed, "  # noqa: S608  a constant
        "EXISTS (SELECT FROM block WHERE program_id = program.id AND next > 0) AS given "
        "FROM program WHERE name = $1 FOR NO KEY UPDATE",
        name,
    )
    if row is None:
        raise ProgramUnknown(name)
    if row["removed"]:
        raise ProgramRefused(f"{name} was removed and cannot be changed: clone it under another short name.")
    return row


def _name_taken(name: str) -> ProgramTaken:
    return ProgramTaken(f"The short name {name} is taken, perhaps by a removed program: choose another one.")
