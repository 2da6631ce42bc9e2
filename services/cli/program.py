"""Commands for programs."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import click
from pydantic import ValidationError

from schemas.program import ImportSource, Program, ProgramSettings, RemoteSource, Source, TemplateSource
from services.cli.output import json_option, print_facts, print_json, print_table, with_database
from services.cli.program_questions import interview
from services.cli.program_settings import checked, given, refused, settings_options


@click.group()
def program() -> None:
    """Create, show and change programs."""


@program.command()
@click.argument("name", required=False)
@settings_options
@click.option("--interactive", is_flag=True, help="Prompt for all settings, with the given ones as defaults.")
@json_option
def create(name: str | None, interactive: bool, as_json: bool, **options: Any) -> None:
    """Create program NAME from options, a JSON file, or both.

    Options override the file.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    wanted = given(**options) | ({} if name is None else {"name": name})
    if interactive:
        wanted = _prompted_settings(wanted)
    settings = checked(wanted)

    async def make(connection: Any, minters: Any, guesses_per_s: float) -> Program:
        work = partial(programs.create, connection, minters, settings, guesses_per_s)
        kind = settings.source.kind
        return await recorded(connection, command_actor(), work, "program.create", settings.name, source=kind)

    made = _change_and_announce(make)
    _print(made, as_json, f"Created program {made.name}. See its pool: codewell program show {made.name}")


@program.command()
@click.argument("name")
@settings_options
@json_option
def update(name: str, as_json: bool, **options: Any) -> None:
    """Change settings of program NAME.

    Options override the JSON file. Settings that are not given stay as they are; null in the file resets a setting to
    its default. Codes of the previous template stay valid.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.programs import programs

    changes = given(**options)
    if not changes:
        raise click.UsageError("Nothing to change: give an option for each setting, or --file.")
    try:
        changed = _change_and_announce(
            lambda connection, minters, guesses_per_s: programs.update(
                connection, minters, name, changes, guesses_per_s, command_actor()
            )
        )
    except ValidationError as error:
        raise refused(error, "changed") from error
    _print(changed, as_json, f"Changed program {name}.")


@program.command()
@click.argument("name")
@click.argument("new_name", metavar="NEW")
@json_option
def clone(name: str, new_name: str, as_json: bool) -> None:
    """Create program NEW with the settings of NAME, without codes."""
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    async def make(connection: Any, minters: Any, guesses_per_s: float) -> Program:
        work = partial(programs.clone, connection, minters, name, new_name, guesses_per_s)
        return await recorded(connection, command_actor(), work, "program.clone", new_name, of=name)

    try:
        made = _change_and_announce(make)
    except ValidationError as error:
        raise refused(error, "made") from error
    _print(made, as_json, f"Created program {made.name}. See its pool: codewell program show {made.name}")


@program.command()
@click.argument("name")
@json_option
def activate(name: str, as_json: bool) -> None:
    """Activate program NAME."""
    changed = _change_and_announce(_switch(name, True))
    _print(changed, as_json, f"Program {name} is active.")


@program.command()
@click.argument("name")
@json_option
def deactivate(name: str, as_json: bool) -> None:
    """Deactivate program NAME.

    An inactive program neither creates nor attaches codes.
    """
    changed = _change_and_announce(_switch(name, False))
    _print(changed, as_json, f"Program {name} is inactive.")


@program.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove program NAME permanently.

    Its codes stay on record, and its name cannot be used again.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    async def change(connection: Any, *_: Any) -> Program:
        return await recorded(
            connection, command_actor(), partial(programs.remove, connection, name), "program.remove", name
        )

    removed = _change_and_announce(change)
    _print(removed, as_json, f"Removed program {name}. Its codes stay on record: codewell code list {name}")


@program.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all programs with their states and pools."""
    from codewell.programs import overview

    found = with_database(lambda connection, _: overview.overview(connection))
    if as_json:
        for one in found:
            print_json(one.program)
        return
    rows = [
        {
            "name": one.program.name,
            "title": one.program.title,
            "state": one.state,
            "codes": _source_summary(one.program.source),
            "ready": one.pooled,
            "had": one.had,
            "maximum": one.program.codes_max,
            "valid until": one.program.valid_until,
        }
        for one in found
    ]
    print_table(rows, "No programs yet: create one with codewell program create.")


@program.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show program NAME and its stock."""
    from codewell.pool import orders
    from codewell.programs import overview, programs

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await programs.get(connection, name)
            is_remote = isinstance(found.source, RemoteSource)
            service = await orders.service_of(connection, name) if is_remote else None
            return found, await overview.stock(connection, name), service

    shown, stock, service = with_database(work)
    facts = json.loads(shown.model_dump_json())
    if as_json:
        print_json({**facts, "stock": stock} | ({} if service is None else {"remote": service}))
        return
    facts["source"] = _source_summary(shown.source)
    print_facts({key: value for key, value in facts.items() if value not in ("", [], None)})
    click.echo()
    # Only remote programs have codes on order.
    unasked = {"program", "codes_max", "pool_max"} | ({"on_order"} if service is None else set())
    print_facts(stock.model_dump(exclude=unasked))
    if service is not None:
        click.echo()
        facts = service.model_dump(exclude={"program", "url", "on_order"}, exclude_none=True)
        print_facts({key.replace("error", "last_error"): value for key, value in facts.items()})


@program.command()
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Create a new secret; the old one stays valid for 24 hours.")
@json_option
def secret(name: str, rotate: bool, as_json: bool) -> None:
    """Show the signing secrets of remote program NAME, newest first."""
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.pool import orders
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs
    from codewell.remote import signing_secrets

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, name)
        await orders.service_of(connection, name)
        minters = Minters(*settings.master_keys)
        if not rotate:
            return await signing_secrets.active_secrets(connection, minters, found.id)
        change = partial(signing_secrets.rotate, connection, minters, found.id)
        return await recorded(connection, command_actor(), change, "secret.rotate", name)

    rows = [{"secret": one.text, "made": one.made_at, "ends": one.ends_at} for one in with_database(work)]
    if as_json:
        for row in rows:
            print_json({"secret": row["secret"], "made_at": row["made"], "ends_at": row["ends"]})
    else:
        print_table(rows, "")


def _switch(name: str, active: bool) -> Callable[..., Awaitable[Program]]:
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    async def change(connection: Any, *_: Any) -> Program:
        verb = f"program.{'activate' if active else 'deactivate'}"
        return await recorded(
            connection, command_actor(), partial(programs.set_active, connection, name, active), verb, name
        )

    return change


def _source_summary(source: Source) -> str:
    """A short label of the program's source."""
    match source:
        case TemplateSource():
            return source.template
        case RemoteSource():
            return source.url
        case ImportSource():
            return "imported"


def _change_and_announce(change: Callable[[Any, Any, float], Awaitable[Program]]) -> Program:
    """Create or change a program, and publish the change so that the generator fills the pool at once."""
    from codewell.client.exchange import publish_program_changed
    from codewell.infra.kafka.clients import started_producer
    from codewell.pool.minter_cache import Minters

    async def work(connection: Any, stack: Any) -> Program:
        # Connect to Kafka first: when it is unreachable, nothing is changed.
        async with started_producer(stack.kafka_config) as producer:
            changed = await change(connection, Minters(*stack.master_keys), stack.guesses_per_s)
            if not await publish_program_changed(producer, stack.topic_prefix, changed.id, changed.name):
                click.echo(
                    "Kafka did not take the pool-demand event: the generator's next sweep fills the pool.", err=True
                )
        return changed

    return with_database(work)


def _prompted_settings(wanted: dict[str, Any]) -> dict[str, Any]:
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.programs import programs, settings_rules

    guesses_per_s = read_settings(StackSettings).guesses_per_s

    def check(settings: ProgramSettings) -> None:
        settings_rules.check_settings(settings, guesses_per_s)

    return interview(wanted, lambda name: with_database(lambda one, _: programs.check_name(one, name)), check)


def _print(made: Program, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(made)
    else:
        click.echo(sentence)
