"""Commands for one code: attach, return, activate, change, delete."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from codewell.errors import ProgramRefused
from schemas.events import Id
from schemas.program import Moment
from services.cli.code import facts_of, pairs
from services.cli.output import json_option, print_facts, print_json, with_database

if TYPE_CHECKING:
    from codewell.codes.lifecycle import CodeChange
    from codewell.codes.lookup import CodeFacts
    from codewell.codes.program_codes import ProgramCodes

_PROGRAM = click.argument("program")
_CODE = click.argument("text", metavar="CODE")


@click.command()
@_PROGRAM
@click.argument("profile")
@click.argument("text", metavar="[CODE]", required=False)
@click.option("--request-id", type=click.UUID, help="Idempotency key: the same id returns the same code.")
@json_option
def attach(program: str, profile: str, text: str | None, request_id: UUID | None, as_json: bool) -> None:
    """Attach CODE, or the next code of the pool, to PROFILE.

    A CODE that PROGRAM does not have yet is added to it.
    """
    from codewell.audit import audit_log
    from codewell.codes.lookup import find
    from codewell.codes.program_codes import ProgramCodes
    from codewell.infra.postgres.connection import pool
    from codewell.infra.uuid7 import uuid7
    from codewell.issuing import manual
    from codewell.issuing.claim import Claims
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    try:
        TypeAdapter(Id).validate_python(profile)
    except ValidationError as error:
        raise ProgramRefused(
            "The profile id is invalid: use 1 to 256 characters without control characters."
        ) from error
    known_as = request_id or uuid7()

    async def work(connection: Any, settings: Any) -> Any:
        minters = Minters(*settings.master_keys)
        if text is not None:
            row = await manual.attach_named(
                connection, minters, program, text, profile, known_as, audit_log.command_actor()
            )
        else:
            async with pool(settings.postgres_url.get_secret_value(), "codewell-cli", 1) as opened:
                row = await manual.attach(Claims(opened, minters), program, profile, known_as)
            # The claim ran in a transaction of its own, and its answer is stored.
            await audit_log.record(
                connection, audit_log.command_actor(), "code.attach", program, request_id=str(row.request_id)
            )
        found = await programs.get(connection, program)
        return await find(ProgramCodes(connection, minters, found.id), row.code or "")

    _show(with_database(work), as_json)


@click.command()
@_PROGRAM
@_CODE
@json_option
def detach(program: str, text: str, as_json: bool) -> None:
    """Return CODE of PROGRAM to the pool for another profile."""
    from codewell.codes import lifecycle

    _show(_done(program, text, "detach", lifecycle.detach), as_json)


@click.command()
@_PROGRAM
@_CODE
@json_option
def activate(program: str, text: str, as_json: bool) -> None:
    """Activate (redeem) CODE of PROGRAM, once."""
    from codewell.codes import activation

    _show(_done(program, text, "activate", activation.activate), as_json)


@click.command()
@_PROGRAM
@_CODE
@json_option
def deactivate(program: str, text: str, as_json: bool) -> None:
    """Undo the activation of CODE of PROGRAM."""
    from codewell.codes import lifecycle

    _show(_done(program, text, "deactivate", lifecycle.deactivate), as_json)


@click.command()
@_PROGRAM
@_CODE
@click.option("--expires-at", metavar="TIME", help="New expiry: ISO 8601 with a time zone, or never.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="Custom field; replaces all fields of the code; repeatable.",
)
@json_option
def update(program: str, text: str, expires_at: str | None, fields: tuple[str, ...], as_json: bool) -> None:
    """Change the expiry or the custom fields of CODE of PROGRAM."""
    from codewell.codes import lifecycle
    from codewell.codes.lifecycle import CodeChange

    if expires_at is None and not fields:
        raise click.UsageError("Nothing to change: give --expires-at or --field.")
    until = _moment(expires_at)
    given = json.dumps(pairs(fields))

    def to(now: "CodeFacts") -> "CodeChange":
        return CodeChange(now.expires_at if expires_at is None else until, given if fields else now.fields)

    async def changes(codes: "ProgramCodes", written: str) -> Any:
        return await lifecycle.change(codes, written, to)

    _show(_done(program, text, "update", changes), as_json)


@click.command()
@_PROGRAM
@_CODE
@json_option
def delete(program: str, text: str, as_json: bool) -> None:
    """Delete CODE of PROGRAM, pooled or attached.

    The code stays on record and is never generated again.
    """
    from codewell.codes import lifecycle

    _show(_done(program, text, "delete", lifecycle.delete), as_json)


def _done(program: str, text: str, verb: str, step: Callable[["ProgramCodes", str], Awaitable[Any]]) -> Any:
    from codewell.audit import audit_log
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        async with connection.transaction():
            done = await step(ProgramCodes(connection, Minters(*settings.master_keys), found.id), text)
            await audit_log.record(connection, audit_log.command_actor(), f"code.{verb}", program, place=done.place)
        return done

    return with_database(work)


def _moment(written: str | None) -> datetime | None:
    if written in {None, "never"}:
        return None
    try:
        return TypeAdapter(Moment).validate_python(written)
    except ValidationError as error:
        raise ProgramRefused(
            f"{written} is neither never nor a time with a time zone, such as 2027-01-31T12:00:00Z. Nothing was "
            "changed."
        ) from error


def _show(found: Any, as_json: bool) -> None:
    (print_json if as_json else print_facts)(facts_of(found))
