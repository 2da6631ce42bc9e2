"""The command that changes many codes at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import click
from pydantic import TypeAdapter, ValidationError

from codewell.plurals import counted
from schemas.events import Id
from services.cli.moments import read_end, read_expiry, read_start, time_zone_option
from services.cli.output import json_option, print_facts, print_json, say, with_database
from services.cli.pool_demands import demand_if_low


@click.command()
@click.argument("program")
@click.option("--state", type=click.Choice(["pooled", "attached", "expired"]), help="Only codes in this state.")
@click.option("--profile", "profile_id", metavar="ID", help="Only codes that are attached to this profile.")
@click.option("--import", "import_id", type=click.UUID, metavar="ID", help="Only codes of this import.")
@click.option("--expires-from", metavar="TIME", callback=read_start, help="Only codes that expire at or after this.")
@click.option("--expires-until", metavar="TIME", callback=read_end, help="Only codes that expire before the end of it.")
@time_zone_option
@click.option("--expires-at", metavar="TIME", help="New expiry: a date (its end), a time, or never.")
@click.option("--void", is_flag=True, help="Delete the codes.")
@click.option("--dry-run", is_flag=True, help="Count the codes, and change nothing.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--stop", type=click.UUID, metavar="ID", help="Stop this change; what it did stays.")
@click.option("--undo", type=click.UUID, metavar="ID", help="Restore what this change did.")
@json_option
def change(
    program: str, state: Any, profile_id: str | None, import_id: UUID | None, expires_from: datetime | None,
    expires_until: datetime | None, expires_at: str | None, void: bool, dry_run: bool, yes: bool, stop: UUID | None,
    undo: UUID | None, as_json: bool,
) -> None:  # fmt: skip
    """Change the expiry of many codes of PROGRAM, or delete them.

    Changes all codes that the options select.

    Codes that are activated, or that an order holds, are left as they are. If this command is interrupted, a console
    goes on with the change.
    """
    from schemas.changes import ChangeFilter

    if sum((expires_at is not None, void, stop is not None, undo is not None)) != 1 and not dry_run:
        raise click.UsageError("Give one of --expires-at, --void, --stop and --undo.")
    wanted = ChangeFilter(
        state=state, profile_id=_profile(profile_id), import_id=import_id, expires_from=expires_from,
        expires_until=expires_until,
    )  # fmt: skip
    if dry_run or (void and not yes):
        found = _counted(program, wanted)
        if dry_run:
            (print_json if as_json else print_facts)(found.model_dump())
            return
        most = found.pooled + found.expired + found.attached
        click.confirm(f"Delete up to {counted(most, 'code')} of {program}?", abort=True, err=True)
    until = None if expires_at in {None, "never"} else read_expiry(expires_at or "")
    with _progress() as progress:
        done = _carried_out(program, wanted, until, void=void, stop=stop, undo=undo, progress=progress)
    if as_json:
        print_json(done)
        return
    print_facts({name: getattr(done, name) for name in ("id", "state", "total", "done", "changed", "restored")})
    for reason, count in done.skipped.items():
        say(f"{counted(count, 'code')} left as they are: {reason.replace('_', ' ')}.")


def _counted(program: str, wanted: Any) -> Any:
    from codewell.codes import bulk
    from codewell.programs import programs

    async def work(connection: Any, _: Any) -> Any:
        found = await programs.get(connection, program)
        return await bulk.counts(connection, found.id, wanted)

    return with_database(work)


def _carried_out(
    program: str, wanted: Any, until: datetime | None, *, void: bool, stop: UUID | None, undo: UUID | None,
    progress: Callable[[Any], None],
) -> Any:  # fmt: skip
    from codewell.audit.audit_log import command_actor
    from codewell.codes import bulk, bulk_apply
    from codewell.infra.uuid7 import uuid7
    from codewell.programs import programs

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        actor = command_actor()
        if stop is not None:
            return await bulk.stop(connection, await _own(connection, program, stop), actor)
        if undo is not None:
            begun = await bulk.undo(connection, await _own(connection, program, undo), actor)
        else:
            async with connection.transaction():
                what = bulk.NewChange(void=void, expires_at=until)
                begun = await bulk.start(connection, uuid7(), found.id, program, wanted, what, actor)
        await bulk_apply.carry_out(connection, begun.id, progress)
        await demand_if_low(connection, settings, found.id)
        return await bulk.get(connection, begun.id)

    return with_database(work)


async def _own(connection: Any, program: str, change_id: UUID) -> UUID:
    """The id, if it is that of a change of this program."""
    from codewell.codes import bulk
    from codewell.errors import ChangeUnknown

    if (await bulk.get(connection, change_id)).program != program:
        raise ChangeUnknown(change_id)
    return change_id


def _profile(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return TypeAdapter(Id).validate_python(given)
    except ValidationError as error:
        raise click.BadParameter(
            "use 1 to 256 characters without control characters.", param_hint="--profile"
        ) from error


@contextmanager
def _progress() -> Iterator[Callable[[Any], None]]:
    """A progress line for a person: codes looked at, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} codes"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=0)

        def progress(now: Any) -> None:
            shown.update(task, completed=now.done, total=now.total)

        yield progress
