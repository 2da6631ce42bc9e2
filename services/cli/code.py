"""Commands for the codes of a program."""

import json
from typing import Any, Final

import click

from codewell.errors import CodeUnknown
from codewell.plurals import counted
from services.cli.commands import ApartGroup
from services.cli.output import json_option, print_facts, print_json, print_table, say, with_database

_FIRST_CODES_MAX: Final = 20


@click.group(
    cls=ApartGroup,
    places={
        "activate": "code_till:activate",
        "attach": "code_life:attach",
        "change": "code_change:change",
        "deactivate": "code_till:deactivate",
        "delete": "code_life:delete",
        "detach": "code_life:detach",
        "export": "code_export:export",
        "hold": "code_till:hold",
        "import": "code_import:import_",
        "list": "code_list:list_",
        "list-imports": "code_import:list_imports",
        "reissue": "code_reissue:reissue",
        "release": "code_till:release",
        "undo-import": "code_import:undo_import",
        "update": "code_life:update",
    },
)
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

    Prints the first codes, and an id of the batch to list all of them by. The program's campaign and scenario switches
    do not matter here. Codes of a remote program are ordered, and arrive
    later.
    """
    from codewell.audit import audit_log
    from codewell.codes import listing
    from codewell.codes.code_filter import CodeFilter
    from codewell.codes.program_codes import ProgramCodes
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
            batch: Any
            if linked is not None:
                ids = (uuid7() for _ in linked)
                batch = await assigned.generate_for(connection, minters, found.id, linked, ids, text)
            else:
                batch = await fill.generate(connection, minters, found.id, count or 0, text, json.dumps(given))
            made = count if linked is None else len(linked)
            await audit_log.record(
                connection, audit_log.command_actor(), "code.generate", program, count=made, attached=linked is not None
            )
        page = None
        if batch is not None:
            wanted = CodeFilter(batch=batch)
            codes = ProgramCodes(connection, minters, found.id)
            page = await listing.page(codes, wanted.start, _FIRST_CODES_MAX, wanted)
        return await overview.stock(connection, program), batch, page

    stock, batch, page = with_database(work)
    made = [] if page is None else [facts_of(one) for one in page.codes]
    if as_json:
        batch_id = None if batch is None else str(batch)
        print_json({**stock.model_dump(), "batch": batch_id, "codes": made, "more": bool(page and page.next)})
        return
    if linked is not None:
        say(f"Generated and attached {counted(len(linked), 'code')}, one per profile.")
    elif stock.on_order:
        say(f"Ordered {counted(count or 0, 'code')}: {stock.on_order:,} on order, {stock.pooled:,} in the pool.")
    else:
        say(f"Generated {counted(count or 0, 'code')}: {stock.pooled:,} in the pool.")
    if made:
        shown = ("code", "profile_id", "expires_at") if linked is not None else ("code", "expires_at")
        print_table([{name: one[name] for name in shown} for one in made], "")
        say(f"All of them: codewell code list {program} --batch {batch}")


@code.command()
@click.argument("text", metavar="CODE")
@json_option
def find(text: str, as_json: bool) -> None:
    """Find CODE in all programs."""
    from codewell.codes import across_programs
    from codewell.pool.minter_cache import Minters

    async def work(connection: Any, settings: Any) -> Any:
        return await across_programs.find(connection, Minters(*settings.master_keys), (), text)

    found = with_database(work)
    if not found:
        raise CodeUnknown(text)
    for one in found:
        facts = {"program": one.program, **facts_of(one.facts)}
        if as_json:
            print_json(facts)
        else:
            print_facts(facts)


@code.command()
@click.argument("program")
@click.argument("text", metavar="CODE")
@click.option("--history", "with_history", is_flag=True, help="Also list what happened to the code, oldest first.")
@json_option
def show(program: str, text: str, with_history: bool, as_json: bool) -> None:
    """Show CODE of PROGRAM."""
    from codewell.codes import history, typed
    from codewell.codes.program_codes import ProgramCodes
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        codes = ProgramCodes(connection, Minters(*settings.master_keys), found.id)
        facts = await typed.find(codes, text)
        if facts is None:
            raise CodeUnknown(text)
        return facts, await history.read(codes, found.name, facts) if with_history else None

    found, happened = with_database(work)
    facts = facts_of(found)
    if happened is None:
        (print_json if as_json else print_facts)(facts)
        return
    events = [_event(one) for one in happened.events]
    if as_json:
        print_json({**facts, "history": events, "history_complete": happened.is_complete})
        return
    print_facts(facts)
    say()
    print_table([{name: one[name] for name in ("at", "event", "by", "detail")} for one in events], "")
    if not happened.is_complete:
        say("Earlier events are missing: the code returned to the pool before returns were linked.", err=True)


def facts_of(found: Any) -> dict[str, object]:
    """The printed form of a code."""
    facts: dict[str, object] = found._asdict()
    made_at = facts.pop("created_at")
    place = facts.pop("place")
    return {**facts, "fields": json.loads(found.fields or "{}"), "created_at": made_at, "place": str(place)}


def _event(one: Any) -> dict[str, Any]:
    """The printed form of an event: its facts, and all of them in one cell."""
    facts = one._asdict()
    head = {"at": facts.pop("at"), "event": facts.pop("kind"), "by": facts.pop("by")}
    detail = " ".join(f"{name}={_cell(value)}" for name, value in facts.items() if value not in {None, ()})
    return {**head, **facts, "detail": detail}


def _cell(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


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


def pairs(given: tuple[str, ...], option: str = "--field", form: str = "NAME=VALUE") -> dict[str, str]:
    """The values of a repeatable option in this form."""
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} does not have the form {form}.", param_hint=option)
        pairs[name] = value
    return pairs
