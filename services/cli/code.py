"""Commands for the codes of a program."""

import json
from typing import Any, get_args

import click

from schemas.program import State
from services.cli.output import as_json, print_facts, print_json, print_table, with_database
from services.errors import CodeUnknown


@click.group()
def code() -> None:
    """Make codes and look at them."""


@code.command()
@click.argument("program")
@click.argument("count", type=click.IntRange(1))
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A custom field saved on the codes.")
@as_json
def generate(program: str, count: int, fields: tuple[str, ...], as_json: bool) -> None:
    """Make COUNT codes of PROGRAM now, whatever its switches say; those of a remote service come later."""
    from services.store import filling, programs
    from services.store.minters import Minters

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        given = pairs(fields)
        saved = programs.saved_fields(found, given)
        minters = Minters(settings.master_key_bytes)
        texts = (json.dumps(saved) if saved else None, json.dumps(given))
        await filling.generate(connection, minters, found.id, count, *texts)
        return await programs.stock(connection, program)

    stock = with_database(work)
    if as_json:
        print_json(stock)
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
    from services.store import codes, programs
    from services.store.minters import Minters

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        minters = Minters(settings.master_key_bytes)
        place = _place(after)
        listed: list[Any] = []
        while place is not None and len(listed) < limit:
            page = await codes.page(connection, minters, found.id, place, limit - len(listed), state, profile)
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
    from services.store import codes, programs
    from services.store.minters import Minters

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        return await codes.find(connection, Minters(settings.master_key_bytes), found.id, text)

    found = with_database(work)
    if found is None:
        raise CodeUnknown(text)
    (print_json if as_json else print_facts)(facts_of(found))


def facts_of(found: Any) -> dict[str, object]:
    """What is known of a code, as it is printed."""
    facts: dict[str, object] = found._asdict()
    return {**facts, "fields": json.loads(found.fields or "{}"), "place": _written(found.place)}


def _place(written: str | None) -> Any:
    from services.store.codes import START, Place

    if written is None:
        return START
    try:
        listed, major, minor = map(int, written.split(":"))
    except ValueError as error:
        raise click.BadParameter("is three numbers, as the last line of a list says.", param_hint="--after") from error
    return Place(listed, major, minor)


def _written(place: Any) -> str:
    return ":".join(map(str, place))


def pairs(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE options."""
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} is not NAME=VALUE.", param_hint="--field")
        pairs[name] = value
    return pairs
