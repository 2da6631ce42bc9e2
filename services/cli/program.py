"""Commands for programs."""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import click
from pydantic import ValidationError

from schemas.program import ImportSource, Program, ProgramSettings, RemoteSource, Source, TemplateSource
from services.cli.commands import ApartGroup
from services.cli.option_names import in_options
from services.cli.output import json_option, print_facts, print_json, print_table, say, with_database
from services.cli.program_changes import change_and_announce
from services.cli.program_forecast import facts_of
from services.cli.program_questions import interview
from services.cli.program_settings import checked, given, refused, settings_options


@click.group(
    cls=ApartGroup,
    places={"forecast": "program_forecast:forecast", "preview-template": "program_preview:preview_template",
            "remove": "program_removal:remove"},
)  # fmt: skip
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

    made = change_and_announce(make)
    _print_made(made, as_json, wanted)


@program.command()
@click.argument("name")
@settings_options
@json_option
def update(name: str, as_json: bool, **options: Any) -> None:
    """Change settings of program NAME.

    Options override the JSON file. Settings that are not given stay as they are; null in the file resets a setting to
    its default, as shown below. Codes of the previous template stay valid.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.programs import programs

    changes = given(**options)
    if not changes:
        raise click.UsageError("Nothing to change: give an option for each setting, or --file.")
    try:
        changed = change_and_announce(
            lambda connection, minters, guesses_per_s: programs.update(
                connection, minters, name, changes, guesses_per_s, command_actor()
            )
        )
    except ValidationError as error:
        raise refused(error, "changed") from error
    _print_with_notes(changed, as_json, f"Changed program {name}.", changes, is_change=True)


@program.command()
@click.argument("name")
@click.argument("new_name", metavar="NEW")
@json_option
def clone(name: str, new_name: str, as_json: bool) -> None:
    """Create program NEW with the settings of NAME.

    It begins without codes.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    async def make(connection: Any, minters: Any, guesses_per_s: float) -> Program:
        work = partial(programs.clone, connection, minters, name, new_name, guesses_per_s)
        return await recorded(connection, command_actor(), work, "program.clone", new_name, of=name)

    try:
        made = change_and_announce(make)
    except ValidationError as error:
        raise refused(error, "made") from error
    _print_made(made, as_json, {})


@program.command()
@click.argument("name")
@json_option
def activate(name: str, as_json: bool) -> None:
    """Activate program NAME."""
    changed = change_and_announce(_switch(name, True))
    _print(changed, as_json, f"Program {name} is active.")


@program.command()
@click.argument("name")
@json_option
def deactivate(name: str, as_json: bool) -> None:
    """Deactivate program NAME.

    An inactive program neither creates nor attaches codes.
    """
    changed = change_and_announce(_switch(name, False))
    _print(changed, as_json, f"Program {name} is inactive.")


@program.command("list")
@click.option("--removed", is_flag=True, help="List the removed programs instead of the others.")
@json_option
def list_(removed: bool, as_json: bool) -> None:
    """List all programs with their states and pools."""
    from codewell.programs import overview

    found = with_database(lambda connection, _: overview.overview(connection, removed=removed))
    if as_json:
        for one in found:
            program_json = json.loads(one.program.model_dump_json())
            print_json({**program_json, "state": one.state, "pooled": one.pooled, "had": one.had})
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
        | ({"removed": one.program.removed_at} if removed else {})
        for one in found
    ]
    print_table(
        rows, "No removed programs." if removed else "No programs yet: create one with codewell program create."
    )


@program.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show program NAME, its stock and forecast."""
    from codewell.forecast import forecasts
    from codewell.pool import orders
    from codewell.programs import overview, programs

    async def work(connection: Any, _: Any) -> Any:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await programs.get(connection, name)
            is_remote = isinstance(found.source, RemoteSource)
            service = await orders.service_of(connection, name) if is_remote else None
            forecast = (await forecasts(connection, [found.id]))[found.id]
            return found, await overview.stock(connection, name), service, forecast

    shown, stock, service, forecast = with_database(work)
    facts = json.loads(shown.model_dump_json())
    if as_json:
        print_json({**facts, "stock": stock, "forecast": forecast} | ({} if service is None else {"remote": service}))
        return
    facts["source"] = _source_summary(shown.source)
    facts["alerts"] = ", ".join(map(str, shown.alerts)) or "none"
    facts["fallback"] = ", ".join(link.program for link in shown.fallback)
    if not shown.fallback:
        del facts["fallback_on"]
    print_facts({key: value for key, value in facts.items() if value not in ("", [], None)})
    say()
    # Only remote programs have codes on order.
    unasked = {"program", "codes_max", "pool_max"} | ({"on_order"} if service is None else set())
    print_facts(stock.model_dump(exclude=unasked))
    if service is not None:
        say()
        facts = service.model_dump(exclude={"program", "url", "on_order"}, exclude_none=True)
        print_facts({key.replace("error", "last_error"): value for key, value in facts.items()})
    say()
    print_facts(facts_of(forecast))


@program.command()
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Create a new secret; the old one stays valid for 24 hours.")
@json_option
def secret(name: str, rotate: bool, as_json: bool) -> None:
    """Show the signing secrets of remote program NAME.

    The newest one is first.
    """
    from codewell.audit.audit_log import command_actor, record, recorded
    from codewell.pool import orders
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs
    from codewell.remote import signing_secrets

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, name)
        await orders.service_of(connection, name)
        minters = Minters(*settings.master_keys)
        if not rotate:
            # Recorded first: a secret that was shown can't be recalled.
            await record(connection, command_actor(), "secret.show", name)
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


def _prompted_settings(wanted: dict[str, Any]) -> dict[str, Any]:
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.programs import programs, settings_rules
    from codewell.programs.fallback_rules import check_fallbacks

    guesses_per_s = read_settings(StackSettings).guesses_per_s

    def check(settings: ProgramSettings) -> None:
        settings_rules.check_settings(settings, guesses_per_s)

    def check_name(name: str) -> None:
        with_database(lambda one, _: programs.check_name(one, name))

    def check_fallback(settings: ProgramSettings) -> None:
        with_database(lambda one, _: check_fallbacks(one, settings))

    return interview(wanted, check_name, check, check_fallback)


def _print_made(made: Program, as_json: bool, given: Mapping[str, Any]) -> None:
    sentence = (
        f"Created program {made.name}. See its pool: codewell program show {made.name}\n"
        f"In a message template its code is: {made.placeholder}"
    )
    _print_with_notes(made, as_json, sentence, given)


def _print_with_notes(
    made: Program, as_json: bool, sentence: str, given: Mapping[str, Any], *, is_change: bool = False
) -> None:
    """Print the program, and what to know about its settings; `given` is what the person wrote."""
    from codewell.programs.settings_notes import answer_with_notes

    answer = answer_with_notes(made, given, is_change=is_change)
    _print(answer, as_json, "\n".join([sentence, *map(in_options, answer.notes)]))


def _print(made: Program, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(made)
    else:
        say(sentence)
