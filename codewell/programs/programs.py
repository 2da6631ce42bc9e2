"""Creates, changes, reads, lists and removes programs."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.codes import folding_switch, possible_texts
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import ProgramRefused, ProgramTaken, ProgramUnknown
from codewell.infra.postgres.connection import Connection
from codewell.minting.template import Template
from codewell.pool import orders
from codewell.pool.minter_cache import Minters
from codewell.profiles.deciding_lock import hold_exclusively, until_held, wait_for_deciding
from codewell.programs import template_versions
from codewell.programs.fallback_rules import FALLBACK_SETTINGS, check_fallbacks, lock_fallbacks, refuse_if_fallback
from codewell.programs.revision import revision_of
from codewell.programs.rows import COLUMNS, columns_of, program_of
from codewell.programs.settings_rules import check_change, check_ends, check_guessable, check_settings
from codewell.redemption import used_up
from codewell.remote import signing_secrets
from schemas.program import Program, ProgramSettings
from schemas.uses import uses_default

_GET: Final = f"SELECT {COLUMNS} FROM program WHERE name = $1 AND ($2::text[] = '{{}}' OR groups && $2)"  # noqa: S608  a constant

_USES_SETTINGS: Final = {"shared", "uses"}


async def check_name(connection: Connection, name: str) -> None:
    """Raise ProgramRefused if a program has this name, or had it before its removal."""
    if await connection.fetchval("SELECT EXISTS (SELECT FROM program WHERE name = $1)", name):
        raise _name_taken(name)


async def create(connection: Connection, minters: Minters, settings: ProgramSettings, guesses_per_s: float) -> Program:
    """Create a program, with the secret key of its template or the signing secret for its remote service.

    `guesses_per_s` is the assumed rate of an attacker. Raises TemplateInvalid if the template is malformed, too small
    or guessable, ProgramTaken if the name is taken, and ProgramRefused for fallbacks that it may not have.
    """
    check_settings(settings, guesses_per_s)
    given = columns_of(settings) | ({"version_folded": 1} if settings.match == "fold" else {})
    columns = ", ".join(given)
    places = ", ".join(f"${number}" for number in range(1, len(given) + 1))
    async with connection.transaction():
        if settings.fallback:
            await lock_fallbacks(connection)
            await check_fallbacks(connection, settings)
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
    actor: Actor | None = None, revisions: Collection[str] | None = None,
) -> Program:  # fmt: skip
    """Change the settings in `changes`, keyed by the names in a program's JSON; None sets the default.

    A limit that `uses` leaves out stays too.

    Records `actor`, if given, in the audit log. With `revisions`, changes the program only if it has one of them.

    A new template is a new version with a new key: codes of the old one stay valid and stay in the pool. On an error
    nothing is changed. Raises pydantic's ValidationError if the resulting settings are invalid, TemplateInvalid if the
    template is guessable or too small for the codes that may still be made, and ProgramRefused for a program that does
    not exist or is removed, a change of the name or of the kind of source, a maximum below the number of codes that
    the program has had, a shared code that would no longer be shared, fallbacks that it may not have, or another
    revision. Raises StackUnavailable if requests are decided without a pause while the code would no longer be shared,
    or codes would no longer be given again. Call it outside of a transaction.
    """
    if changes.keys().isdisjoint({"source", "codes_max", "match"}):
        return await _update(connection, minters, name, changes, guesses_per_s, None, actor, revisions)
    while True:
        program_id = (await get(connection, name)).id
        async with possible_texts.changing(connection, program_id) as mark:
            with contextlib.suppress(_ConcurrentUpdate):
                return await _update(connection, minters, name, changes, guesses_per_s, mark, actor, revisions)


class _ConcurrentUpdate(Exception):
    """A concurrent update of the program committed first."""


async def _update(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    mark: UUID | None, actor: Actor | None, revisions: Collection[str] | None,
) -> Program:  # fmt: skip
    present, settings = await until_held(
        lambda: _change(connection, minters, name, changes, guesses_per_s, mark, actor, revisions)
    )
    if not changes.keys().isdisjoint(_USES_SETTINGS):
        # Tills that have read the limit of before are done after this.
        await wait_for_deciding(connection)
        await used_up.apply_limit(connection, present.id, present.uses)
    return Program(id=present.id, **settings.model_dump())


async def _change(
    connection: Connection, minters: Minters, name: str, changes: Mapping[str, object], guesses_per_s: float,
    mark: UUID | None, actor: Actor | None, revisions: Collection[str] | None,
) -> tuple[Program, ProgramSettings]:  # fmt: skip
    """The program before the change, and its settings after it."""
    async with connection.transaction():
        concerns_fallbacks = not changes.keys().isdisjoint(FALLBACK_SETTINGS)
        if concerns_fallbacks:
            await lock_fallbacks(connection)
        row = await _lock_program(connection, name)
        if mark is not None and not await possible_texts.is_mine(connection, row["id"], mark):
            raise _ConcurrentUpdate
        present = program_of(row)
        if revisions is not None and revision_of(present) not in revisions:
            raise ProgramRefused(
                f"{name} was changed since you read it: read it again, look at what changed, and send your changes "
                "with its new ETag.",
                reason="program_changed",
            )
        kept = _changed(present, changes)
        settings = ProgramSettings.model_validate({key: value for key, value in kept.items() if value is not None})
        check_change(present, settings, row)
        if concerns_fallbacks:
            await check_fallbacks(connection, settings)
        version = await _template_version(connection, minters, present, settings, row, guesses_per_s)
        given = {**columns_of(settings), "version": version}
        codes = ProgramCodes(connection, minters, present.id)
        if settings.match != present.match:
            switch = (
                folding_switch.switch_off(codes)
                if settings.match == "exact"
                else folding_switch.switch_on(codes, version)
            )
            given |= await switch
        elif settings.match == "fold" and version != row["version"]:
            given |= await folding_switch.add_template(codes, version)
        del given["name"]
        columns = ", ".join(f"{column} = ${number}" for number, column in enumerate(given, start=2))
        await connection.execute(
            f"UPDATE program SET {columns} WHERE id = $1",  # noqa: S608  names of model fields
            present.id,
            *given.values(),
        )
        if not changes.keys().isdisjoint(_USES_SETTINGS):
            await used_up.apply_limit(connection, present.id, present.uses)
        if actor is not None:
            await audit_log.record(connection, actor, "program.update", name, changed=sorted(changes))
        if (present.shared and not settings.shared) or (present.reuse != "request" and settings.reuse == "request"):
            # Claims that read the program before may be giving the shared code, or codes again.
            await hold_exclusively(connection)
            check_change(present, settings, await _lock_program(connection, name))
    return present, settings


async def _template_version(
    connection: Connection, minters: Minters, present: Program, settings: ProgramSettings, row: asyncpg.Record,
    guesses_per_s: float,
) -> int:  # fmt: skip
    """The number of the template's version after the change; adds a version for a new template."""
    version: int = row["version"]
    if settings.source.kind == "template":
        template = Template.parse(settings.source.template)
        version += settings.source != present.source
        # An undone import may have left more room than texts: other changes need none of it.
        if settings.source != present.source or settings.codes_max > present.codes_max:
            had, imported = row["made"] + row["imported"], row["imported"]
            await template_versions.check_room(
                connection, present.id, version, template, imported, settings.codes_max - had
            )
        check_guessable(template, settings, guesses_per_s)
        if version != row["version"]:
            check_ends(template)
            await template_versions.add(connection, minters, present.id, version, settings.source.template)
    return version


def _changed(program: Program, changes: Mapping[str, object]) -> dict[str, object]:
    """The settings after the changes. Default uses are left out, as they follow from `shared`, which may change."""
    settings = program.settings
    if program.uses == uses_default(shared=program.shared):
        del settings["uses"]
    elif isinstance(limits := changes.get("uses"), Mapping):
        return {**settings, **changes, "uses": program.uses.model_dump() | dict(limits)}
    return {**settings, **changes}


async def clone(connection: Connection, minters: Minters, name: str, new_name: str, guesses_per_s: float) -> Program:
    """Create a program with the settings of another, removed or not, under a new name: no codes, and a new key.

    Raises what `create` raises, and pydantic's ValidationError for an invalid name.
    """
    settings = (await get(connection, name)).settings
    return await create(
        connection, minters, ProgramSettings.model_validate({**settings, "name": new_name}), guesses_per_s
    )


async def set_active(connection: Connection, name: str, active: bool) -> Program:
    """Activate or deactivate a program. Raises ProgramRefused if it does not exist or is removed."""
    async with connection.transaction():
        present = program_of(await _lock_program(connection, name))
        await connection.execute("UPDATE program SET active = $2 WHERE id = $1", present.id, active)
    return present.model_copy(update={"active": active})


async def remove(connection: Connection, name: str, groups: Sequence[str] = ()) -> Program:
    """Remove a program for good: it makes and gives no more codes, and no list of programs includes it.

    Its records stay: `get` and look-ups of its codes still find it by name, and the name is never used again. Raises
    ProgramRefused if it does not exist, is already removed, or is a fallback of others; it names those in `groups`.
    """
    async with connection.transaction():
        await lock_fallbacks(connection)
        await refuse_if_fallback(connection, name, groups)
        present = program_of(await _lock_program(connection, name))
        removed_at = await connection.fetchval(
            "UPDATE program SET removed_at = now() WHERE id = $1 RETURNING removed_at", present.id
        )
    return present.model_copy(update={"active": False, "removed_at": removed_at})


async def get(connection: Connection, name: str, groups: Sequence[str] = ()) -> Program:
    """The program of this short name; removed programs are included, and inactive. Raises ProgramUnknown.

    With `groups`, also for a program that has none of these access groups. That takes the same work as for a missing
    one, so that the time does not tell the two apart.
    """
    row = await connection.fetchrow(_GET, name, list(groups))
    if row is None:
        raise ProgramUnknown(name)
    return program_of(row)


async def page(
    connection: Connection, groups: Sequence[str], after: str, limit: int, *, removed: bool = False,
    names: Sequence[str] | None = None,
) -> list[Program]:  # fmt: skip
    """Up to `limit` programs whose name is after `after`, by name: the removed ones, or those that are not removed.

    Only programs with one of these access groups; empty `groups` means all programs. With `names`, only those.
    """
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM program WHERE (removed_at IS NOT NULL) = $4 AND name > $2 "  # noqa: S608  a constant
        "AND ($1::text[] = '{}' OR groups && $1) AND ($5::text[] IS NULL OR name = ANY($5)) ORDER BY name LIMIT $3",
        list(groups),
        after,
        limit,
        removed,
        names,
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
        raise ProgramRefused(
            f"{name} was removed and cannot be changed: clone it under another short name.", reason="program_removed"
        )
    return row


def _name_taken(name: str) -> ProgramTaken:
    return ProgramTaken(f"The short name {name} is taken, perhaps by a removed program: choose another one.")
