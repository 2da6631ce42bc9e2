"""Commands for the codes of a program."""

import json
from typing import Any

import click

from services.cli.output import as_json, print_facts, print_json, print_table, with_database
from services.errors import ProgramRefused


@click.group()
def code() -> None:
    """Make codes and look at them."""


@code.command()
@click.argument("program")
@click.argument("count", type=click.IntRange(1))
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A custom field saved on the codes.")
@as_json
def generate(program: str, count: int, fields: tuple[str, ...], as_json: bool) -> None:
    """Make COUNT codes of PROGRAM now, whatever its switches say."""
    from services.store import filling, programs
    from services.store.minters import Minters

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        saved = programs.saved_fields(found, _pairs(fields))
        minters = Minters(settings.master_key_bytes)
        await filling.generate(connection, minters, found.id, count, json.dumps(saved) if saved else None)
        return await programs.stock(connection, program)

    stock = with_database(work)
    if as_json:
        print_json(stock)
    else:
        click.echo(f"{count:,} codes are made; {stock.pooled:,} stand ready.")


@code.command("list")
@click.argument("program")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("--after", metavar="PLACE", default="0:-1", help="Go on behind this place, as the last line says.")
@as_json
def list_(program: str, limit: int, after: str, as_json: bool) -> None:
    """List codes of PROGRAM in the order in which they were made."""
    from services.store import codes, programs
    from services.store.minters import Minters

    block, _, position = after.partition(":")
    try:
        place = int(block), int(position)
    except ValueError as error:
        raise click.BadParameter("is BLOCK:POSITION, as the last line of a list says.", param_hint="--after") from error

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        return await codes.page(connection, Minters(settings.master_key_bytes), found.id, place, limit)

    facts = [_facts(one) for one in with_database(work)]
    if as_json:
        for one in facts:
            print_json(one)
        return
    print_table(facts, f"{program} has no more codes.")
    if len(facts) == limit:
        click.echo(f"There may be more: codewell code list {program} --after {facts[-1]['place']}")


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
        raise ProgramRefused(f"{program} has no code {text}: look at its letters again, capitals count.")
    (print_json if as_json else print_facts)(_facts(found))


def _facts(found: Any) -> dict[str, object]:
    facts: dict[str, object] = found._asdict()
    block, position = found.place
    return {**facts, "fields": json.loads(found.fields or "{}"), "place": f"{block}:{position}"}


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} is not NAME=VALUE.", param_hint="--field")
        pairs[name] = value
    return pairs
