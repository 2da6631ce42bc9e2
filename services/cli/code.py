"""Commands for the codes of a program."""

import json
from typing import Any, get_args

import click

from codewell.errors import CodeUnknown
from schemas.program import State
from services.cli.output import as_json, print_facts, print_json, print_table, with_database


@click.group()
def code() -> None:
    """Make codes and look at them."""


@code.command()
@click.argument("program")
@click.argument("count", type=click.IntRange(1), required=False)
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A custom field saved on the codes.")
@click.option(
    "--profiles",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Attach a code at once to each profile of this file, one id a line; - is stdin.",
)
@as_json
def generate(program: str, count: int | None, fields: tuple[str, ...], profiles: Any, as_json: bool) -> None:
    """Make COUNT codes of PROGRAM now, or one for each profile of a file, whatever its switches say.

    Those of a remote service come later.
    """
    from codewell.audit import audit_log
    from codewell.infra.uuid7 import uuid7
    from codewell.issuing import assigned
    from codewell.pool import fill
    from codewell.pool.minter_cache import Minters
    from codewell.programs import overview, programs, settings_rules

    linked = None if profiles is None else _ids(profiles)
    if linked is None and count is None:
        raise click.UsageError("Say how many codes to make, or name --profiles to make them for.")
    if linked is not None and count not in {None, len(linked)}:
        raise click.UsageError(f"{len(linked):,} profiles get one code each: leave COUNT out.")

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
        click.echo(f"{len(linked):,} codes are made and attached, one to each profile.")
    elif stock.on_order:
        click.echo(f"{count:,} codes are ordered: {stock.on_order:,} are on order; {stock.pooled:,} stand ready.")
    else:
        click.echo(f"{count:,} codes are made; {stock.pooled:,} stand ready.")


@code.command("list")
@click.argument("program")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--after", metavar="PLACE", help="Go on behind this place, as the last line says.")
@click.option("--state", type=click.Choice(get_args(State)))
@click.option("--profile", metavar="ID", help="Only codes that this profile has or had.")
@as_json
def list_(program: str, limit: int, after: str | None, state: Any, profile: str | None, as_json: bool) -> None:
    """List codes of PROGRAM in the order in which they were made: minted ones first, then texts."""
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
    print_table(facts, f"{program} has no more such codes.")
    if more is not None:
        click.echo(f"There may be more: codewell code list {program} --after {_written(more)}")


@code.command()
@click.argument("program")
@click.argument("text", metavar="CODE")
@as_json
def show(program: str, text: str, as_json: bool) -> None:
    """Show what is known of CODE of PROGRAM."""
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
    """What is known of a code, as it is printed."""
    facts: dict[str, object] = found._asdict()
    return {**facts, "fields": json.loads(found.fields or "{}"), "place": _written(found.place)}


def _ids(lines: Any) -> list[str]:
    """The profile ids of a file, one a line; empty lines count for nothing."""
    from pydantic import TypeAdapter, ValidationError

    from schemas.events import Id

    kind = TypeAdapter(Id)
    try:
        given = [line.strip() for line in lines]
    except UnicodeDecodeError as error:
        raise click.BadParameter("is not text in UTF-8.", param_hint="--profiles") from error
    ids = []
    for number, text in enumerate(given, start=1):
        try:
            ids += [kind.validate_python(text)] if text else []
        except ValidationError as error:
            sentence = f"line {number} is no profile id: it takes 1 to 256 characters, no control characters."
            raise click.BadParameter(sentence, param_hint="--profiles") from error
    if not ids:
        raise click.BadParameter("holds no profile id.", param_hint="--profiles")
    return ids


def _place(written: str | None) -> Any:
    from codewell.codes.lookup import START, CodePlace

    if written is None:
        return START
    try:
        listed, major, minor = map(int, written.split(":"))
    except ValueError as error:
        raise click.BadParameter("is three numbers, as the last line of a list says.", param_hint="--after") from error
    return CodePlace(listed, major, minor)


def _written(place: Any) -> str:
    return ":".join(map(str, place))


def pairs(given: tuple[str, ...], option: str = "--field", form: str = "NAME=VALUE") -> dict[str, str]:
    """What an option gave that is of this form and may be repeated."""
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} is not {form}.", param_hint=option)
        pairs[name] = value
    return pairs
