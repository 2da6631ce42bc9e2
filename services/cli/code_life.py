"""Commands for one code: attach it, return it, use it, change it, delete it."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from schemas.events import Id
from schemas.program import Moment
from services.cli.code import facts_of, pairs
from services.cli.output import as_json, print_facts, print_json, with_database
from services.errors import ProgramRefused

if TYPE_CHECKING:
    from services.store.codes import CodeFacts
    from services.store.life import Change

_PROGRAM = click.argument("program")
_CODE = click.argument("text", metavar="CODE")


@click.command()
@_PROGRAM
@click.argument("profile")
@click.argument("text", metavar="[CODE]", required=False)
@click.option("--request-id", type=click.UUID, help="The same id gets the same code again.")
@as_json
def attach(program: str, profile: str, text: str | None, request_id: UUID | None, as_json: bool) -> None:
    """Attach a code of PROGRAM to PROFILE: CODE, which is taken in if need be, or the next one of the pool."""
    from services.client.uuid7 import uuid7
    from services.postgres.connection import pool
    from services.store import audit_log, by_hand, programs
    from services.store.claim import Claims
    from services.store.codes import find
    from services.store.minters import Minters

    try:
        TypeAdapter(Id).validate_python(profile)
    except ValidationError as error:
        raise ProgramRefused("A profile id has 1 to 256 characters and no control characters among them.") from error
    known_as = request_id or uuid7()

    async def work(connection: Any, settings: Any) -> Any:
        minters = Minters(*settings.master_keys)
        if text is not None:
            row = await by_hand.attach_named(
                connection, minters, program, text, profile, known_as, audit_log.by_command()
            )
        else:
            async with pool(settings.postgres_url.get_secret_value(), "codewell-cli", 1) as opened:
                row = await by_hand.attach(Claims(opened, minters), program, profile, known_as)
            # The claim has had its own transaction, and its answer is on record.
            await audit_log.note(
                connection, audit_log.by_command(), "code.attach", program, request_id=str(row.request_id)
            )
        found = await programs.get(connection, program)
        return await find(connection, minters, found.id, row.code or "")

    _show(with_database(work), as_json)


@click.command()
@_PROGRAM
@_CODE
@as_json
def detach(program: str, text: str, as_json: bool) -> None:
    """Return CODE of PROGRAM to the pool, where somebody else may get it."""
    from services.store import life

    _show(_done(program, text, "detach", life.detach), as_json)


@click.command()
@_PROGRAM
@_CODE
@as_json
def activate(program: str, text: str, as_json: bool) -> None:
    """Use CODE of PROGRAM, which can be done once."""
    from services.store import life

    _show(_done(program, text, "activate", life.activate), as_json)


@click.command()
@_PROGRAM
@_CODE
@as_json
def deactivate(program: str, text: str, as_json: bool) -> None:
    """Take the activation of CODE of PROGRAM back."""
    from services.store import life

    _show(_done(program, text, "deactivate", life.deactivate), as_json)


@click.command()
@_PROGRAM
@_CODE
@click.option("--expires-at", metavar="TIME", help="ISO 8601 with a time zone, or never.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="Replaces all fields; may be repeated.")
@as_json
def update(program: str, text: str, expires_at: str | None, fields: tuple[str, ...], as_json: bool) -> None:
    """Give CODE of PROGRAM another expiry or other fields."""
    from services.store import life
    from services.store.life import Change

    if expires_at is None and not fields:
        raise click.UsageError("Give --expires-at or --field.")
    until = _moment(expires_at)
    given = json.dumps(pairs(fields))

    def to(now: "CodeFacts") -> "Change":
        return Change(now.expires_at if expires_at is None else until, given if fields else now.fields)

    async def changes(connection: Any, minters: Any, program_id: int, written: str) -> Any:
        return await life.change(connection, minters, program_id, written, to)

    _show(_done(program, text, "update", changes), as_json)


@click.command()
@_PROGRAM
@_CODE
@as_json
def delete(program: str, text: str, as_json: bool) -> None:
    """Delete CODE of PROGRAM, pooled or attached: it stays on record and is never made again."""
    from services.store import life

    _show(_done(program, text, "delete", life.delete), as_json)


def _done(program: str, text: str, verb: str, step: Callable[[Any, Any, int, str], Awaitable[Any]]) -> Any:
    from services.store import audit_log, programs
    from services.store.minters import Minters

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        async with connection.transaction():
            done = await step(connection, Minters(*settings.master_keys), found.id, text)
            await audit_log.note(connection, audit_log.by_command(), f"code.{verb}", program, place=done.place)
        return done

    return with_database(work)


def _moment(written: str | None) -> datetime | None:
    if written in {None, "never"}:
        return None
    try:
        return TypeAdapter(Moment).validate_python(written)
    except ValidationError as error:
        raise ProgramRefused(
            f"{written} is no time with a time zone, such as 2027-01-31T12:00:00Z, nor never. Nothing was changed."
        ) from error


def _show(found: Any, as_json: bool) -> None:
    (print_json if as_json else print_facts)(facts_of(found))
