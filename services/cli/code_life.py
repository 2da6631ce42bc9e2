"""Commands for one code: attach, return, change, delete."""

import json
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from codewell.errors import ProgramRefused
from schemas.events import Id
from schemas.moments import zone_notes
from services.cli.code import facts_of, pairs
from services.cli.moments import read_expiry, time_zone_option
from services.cli.output import json_option, print_facts, print_json, say, with_database
from services.cli.pool_demands import DemandingClaims, demand_if_low

if TYPE_CHECKING:
    from codewell.codes.lifecycle import CodeChange
    from codewell.codes.lookup import CodeFacts
    from codewell.codes.program_codes import ProgramCodes

PROGRAM = click.argument("program")
CODE = click.argument("text", metavar="CODE")
# Steps after which the pool may have fewer codes.
_TAKE_FROM_POOL = frozenset({"update", "delete"})


@click.command()
@PROGRAM
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
                claims = DemandingClaims(Claims(opened, minters), settings)
                row = await manual.attach(claims, program, profile, known_as, partial(manual.was_named, connection))
            # The claim ran in a transaction of its own, and its answer is stored.
            await audit_log.record(
                connection, audit_log.command_actor(), "code.attach", program, request_id=str(row.request_id)
            )
        if row.link is not None:
            name = await connection.fetchval("SELECT name FROM program WHERE id = $1", row.program_id)
            say(f"{program} has no code to give: this one is of its fallback {name}.", err=True)
        if text is not None:
            await demand_if_low(connection, settings, row.program_id or 0)
        return await find(ProgramCodes(connection, minters, row.program_id or 0), row.code or "")

    show(with_database(work), as_json)


@click.command()
@PROGRAM
@CODE
@json_option
def detach(program: str, text: str, as_json: bool) -> None:
    """Return CODE of PROGRAM to the pool for another profile."""
    from codewell.returns import detaching

    show(done_once(program, text, "detach", detaching.detach, around=detaching.letting_go), as_json)


@click.command()
@PROGRAM
@CODE
@click.option("--expires-at", metavar="TIME", help="New expiry: a date (its end), a time, or never.")
@time_zone_option
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
    until = None if expires_at is None or expires_at == "never" else read_expiry(expires_at)
    given = json.dumps(pairs(fields))

    def to(now: "CodeFacts") -> "CodeChange":
        return CodeChange(now.expires_at if expires_at is None else until, given if fields else now.fields)

    async def changes(codes: "ProgramCodes", written: str) -> Any:
        return await lifecycle.change(codes, written, to)

    given_names = [name for name, is_given in (("expires_at", expires_at), ("fields", fields)) if is_given]
    changed = done_once(program, text, "update", changes, given_names)
    for note in zone_notes({"expires_at": expires_at}):
        say(note, err=True)
    show(changed, as_json)


@click.command()
@PROGRAM
@CODE
@json_option
def delete(program: str, text: str, as_json: bool) -> None:
    """Delete CODE of PROGRAM, pooled or attached.

    The code stays on record and is never generated again.
    """
    from codewell.codes import lifecycle

    show(done_once(program, text, "delete", lifecycle.delete), as_json)


def done_once(
    program: str,
    text: str,
    verb: str,
    step: Callable[["ProgramCodes", str], Awaitable[Any]],
    changed: Collection[str] = (),
    around: Callable[..., AbstractAsyncContextManager[None]] | None = None,
) -> Any:
    """Take a step of one code in a transaction, with its entry in the audit log. Returns the code's facts.

    `around` is what the transaction is in.
    """
    from codewell.audit import audit_log
    from codewell.codes.lifecycle import change_details
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        minters = Minters(*settings.master_keys)
        outer = nullcontext() if around is None else around(lambda: nullcontext(connection), minters, found.id, text)
        async with outer, connection.transaction():
            done = await step(ProgramCodes(connection, minters, found.id), text)
            details = change_details(changed, done) if changed else {}
            actor = audit_log.command_actor()
            await audit_log.record(connection, actor, f"code.{verb}", program, place=done.place, **details)
        if verb in _TAKE_FROM_POOL:
            await demand_if_low(connection, settings, found.id)
        return done

    return with_database(work)


def show(found: Any, as_json: bool) -> None:
    """Print the facts of a code."""
    (print_json if as_json else print_facts)(facts_of(found))
