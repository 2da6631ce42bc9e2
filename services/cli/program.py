"""Commands for programs."""

import json
from typing import IO, Any

import click
from pydantic import ValidationError

from schemas.program import Program, ProgramSettings
from services.cli.output import as_json, first_mistake, print_facts, print_json, print_table, with_database
from services.errors import ProgramRefused


@click.group()
def program() -> None:
    """Create programs and look at them."""


@program.command()
@click.argument("name", required=False)
@click.option("--file", "file", type=click.File(encoding="utf-8"), help="The program as JSON; - is standard input.")
@click.option("--title")
@click.option("--description")
@click.option("--group", "groups", multiple=True, help="An access group; may be given several times.")
@click.option("--active/--inactive", default=None)
@click.option("--valid-from", metavar="TIME", help="ISO 8601 with a time zone, e.g. 2026-12-01T00:00:00Z.")
@click.option("--valid-until", metavar="TIME", help="ISO 8601 with a time zone.")
@click.option("--template", help="E.g. '{string 4}-{number 4}-{upstring 4}'.")
@click.option("--scenario-can-create/--scenario-cannot-create", default=None)
@click.option("--campaign-can-create/--campaign-cannot-create", default=None)
@click.option("--shared", help="One code for everybody.", is_flag=True, default=None)
@click.option("--codes-max", type=int, help="How many codes the program may ever have.")
@click.option("--pool-max", type=int, help="How many stand ready.  [the maximum, or 100,000 if that is less]")
@click.option("--ttl", help="How long a code lives, e.g. P30D.  [for ever]")
@click.option("--ttl-from", type=click.Choice(["creation", "attachment"]))
@click.option("--reuse", type=click.Choice(["request", "profile", "campaign", "step"]))
@click.option("--allow-guessable", help="Accept a template whose codes can be guessed.", is_flag=True, default=None)
@as_json
def create(name: str | None, file: IO[str] | None, template: str | None, as_json: bool, **fields: Any) -> None:
    """Create program NAME from a JSON file, from options, or from both: options win."""
    from services.client.exchange import announce
    from services.kafka.clients import started_producer
    from services.store import programs
    from services.store.minters import Minters

    given = _from_file(file) | {key: value for key, value in fields.items() if value not in (None, ())}
    if name is not None:
        given["name"] = name
    if template is not None:
        given["source"] = {"kind": "template", "template": template}
    settings = _settings(given)

    async def work(connection: Any, stack: Any) -> Program:
        minters = Minters(stack.master_key_bytes)
        # Kafka first: when it can't be reached, nothing is made.
        async with started_producer(stack.kafka_bootstrap) as producer:
            made = await programs.create(connection, minters, settings, stack.guesses_per_s)
            if not await announce(producer, stack.topic_prefix, made.id, made.name):
                click.echo("Kafka did not take the news: the generator's next sweep will find the program.", err=True)
        return made

    made = with_database(work)
    if as_json:
        print_json(made)
    else:
        click.echo(f"Program {made.name} is made. Its pool: codewell program show {made.name}")


@program.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List all programs."""
    from services.store import programs

    found = with_database(lambda connection, _: programs.list_all(connection))
    if as_json:
        for one in found:
            print_json(one)
        return
    rows = [
        {"name": p.name, "title": p.title, "active": p.active, "codes": p.source.template, "maximum": p.codes_max}
        for p in found
    ]
    print_table(rows, "There is no program yet: codewell program create makes one.")


@program.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show program NAME and its stock."""
    from services.store import programs

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await programs.get(connection, name), await programs.stock(connection, name)

    shown, stock = with_database(work)
    facts = json.loads(shown.model_dump_json())
    if as_json:
        print_json({**facts, "stock": stock})
        return
    facts["source"] = shown.source.template
    print_facts({key: value for key, value in facts.items() if value not in ("", [], None)})
    click.echo()
    print_facts(stock.model_dump(exclude={"program", "codes_max", "pool_max"}))


def _from_file(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        given = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ProgramRefused(f"{file.name} is no JSON that can be read ({error}): write one program object.") from error
    if not isinstance(given, dict):
        raise ProgramRefused(f"{file.name} holds no object: write one program object.")
    return given


def _settings(given: dict[str, Any]) -> ProgramSettings:
    try:
        return ProgramSettings.model_validate(given)
    except ValidationError as error:
        raise ProgramRefused(f"{first_mistake(error, 'the program')}. Nothing was made.") from error
