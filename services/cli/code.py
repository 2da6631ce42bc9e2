"""Commands for the codes of a program."""

import json
from typing import Any, get_args

import click

from codewell.errors import CodeUnknown
from schemas.program import State
from services.cli.output import counted, json_option, print_facts, print_json, print_table, with_database


@click.group()
def code() -> None:
    """Generate, import, change and export codes."""


@code.command()
@click.argument("program")
@click.argument("count", type=click.IntRange(1), required=False)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of a custom field, saved with the codes; repeatable.",
)
@click.option(
    "--profiles",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Attach one code to each profile id in this file (one per line); - is standard input.",
)
@json_option
def generate(program: str, count: int | None, fields: tuple[str, ...], profiles: Any, as_json: bool) -> None:
    """Generate COUNT codes of PROGRAM, or one per profile.

    The program's campaign and scenario switches do not matter here. Codes of a remote program are ordered, and arrive
    later.
    """
    from codewell.audit import audit_log
    from codewell.infra.uuid7 import uuid7
    from codewell.issuing import assigned
    from codewell.pool import fill
    from codewell.pool.minter_cache import Minters
    from codewell.programs import overview, programs, settings_rules

    linked = None if profiles is None else _ids(profiles)
    if linked is None and count is None:
        raise click.UsageError("Missing COUNT: give a number of codes, or a file of profiles with --profiles.")
    if linked is not None and count not in {None, len(linked)}:
        raise click.UsageError(
            f"COUNT and --profiles disagree: the file has {counted(len(linked), 'profile id')}, so leave COUNT out."
        )

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        given = pairs(fields)
        saved = settings_rules.saved_fields(found, given)
        minters, text = Minters(*settings.master_keys), json.dumps(saved) if saved else None
        async with connection.transaction():
            if linked is not None:
                ids = (uuid7() for _ in linked)
                await assigned.generate_for(connection, minters, found.id, linked, ids, text)
            else:
                await fill.generate(connection, minters, found.id, count or 0, text, json.dumps(given))
            made = count if linked is None else len(linked)
            await audit_log.record(
                connection, audit_log.command_actor(), "code.generate", program, count=made, attached=linked is not None
            )
        return await overview.stock(connection, program)

    stock = with_database(work)
    if as_json:
        print_json(stock)
    elif linked is not None:
        click.echo(f"Generated and attached {counted(len(linked), 'code')}, one per profile.")
    elif stock.on_order:
        click.echo(f"Ordered {counted(count or 0, 'code')}: {stock.on_order:,} on order, {stock.pooled:,} in the pool.")
    else:
        click.echo(f"Generated {counted(count or 0, 'code')}: {stock.pooled:,} in the pool.")


@code.command("list")
@click.argument("program")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number of codes.")
@click.option("--after", metavar="PLACE", help="Continue after this place, as printed in the last line.")
@click.option("--state", type=click.Choice(get_args(State)), help="Only codes in this state.")
@click.option("--profile", metavar="ID", help="Only codes that are or were attached to this profile.")
@json_option
def list_(program: str, limit: int, after: str | None, state: Any, profile: str | None, as_json: bool) -> None:
    """List codes of PROGRAM, oldest first.

    Minted codes come before imported ones.
    """
    from codewell.codes import listing
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        codes = ProgramCodes(connection, Minters(*settings.master_keys), found.id)
        place = _place(after)
        listed: list[Any] = []
        while place is not None and len(listed) < limit:
            page = await listing.page(codes, place, limit - len(listed), state, profile)
            listed += page.codes
            place = page.next
        return listed, place

    listed, more = with_database(work)
    facts = [facts_of(one) for one in listed]
    if as_json:
        for one in facts:
            print_json(one)
        return
    print_table(facts, f"{program} has no more matching codes.")
    if more is not None:
        click.echo(f"There may be more: codewell code list {program} --after {_written(more)}")


@code.command()
@click.argument("program")
@click.argument("text", metavar="CODE")
@json_option
def show(program: str, text: str, as_json: bool) -> None:
    """Show CODE of PROGRAM."""
    from codewell.codes import lookup
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        return await lookup.find(ProgramCodes(connection, Minters(*settings.master_keys), found.id), text)

    found = with_database(work)
    if found is None:
        raise CodeUnknown(text)
    (print_json if as_json else print_facts)(facts_of(found))


def facts_of(found: Any) -> dict[str, object]:
    """The printed form of a code."""
    facts: dict[str, object] = found._asdict()
    return {**facts, "fields": json.loads(found.fields or "{}"), "place": _written(found.place)}


def _ids(lines: Any) -> list[str]:
    """The profile ids of a file, one a line; empty lines are skipped."""
    from pydantic import TypeAdapter, ValidationError

    from schemas.events import Id

    kind = TypeAdapter(Id)
    try:
        given = [line.strip() for line in lines]
    except UnicodeDecodeError as error:
        raise click.BadParameter("must be UTF-8 text.", param_hint="--profiles") from error
    ids = []
    for number, text in enumerate(given, start=1):
        try:
            ids += [kind.validate_python(text)] if text else []
        except ValidationError as error:
            sentence = f"line {number} is not a profile id: use 1 to 256 characters without control characters."
            raise click.BadParameter(sentence, param_hint="--profiles") from error
    if not ids:
        raise click.BadParameter("holds no profile ids.", param_hint="--profiles")
    return ids


def _place(written: str | None) -> Any:
    from codewell.codes.lookup import START, CodePlace

    if written is None:
        return START
    try:
        listed, major, minor = map(int, written.split(":"))
    except ValueError as error:
        raise click.BadParameter(
            "must be three numbers, as printed in the last line of a list.", param_hint="--after"
        ) from error
    return CodePlace(listed, major, minor)


def _written(place: Any) -> str:
    return ":".join(map(str, place))


def pairs(given: tuple[str, ...], option: str = "--field", form: str = "NAME=VALUE") -> dict[str, str]:
    """The values of a repeatable option in this form."""
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} does not have the form {form}.", param_hint=option)
        pairs[name] = value
    return pairs
