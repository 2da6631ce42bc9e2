"""The command that removes a program for good."""

from functools import partial
from typing import Any

import click

from codewell.plurals import counted
from schemas.program import Program
from services.cli.output import json_option, print_json, say, with_database
from services.cli.program_changes import change_and_announce


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name.")
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove program NAME permanently; asks for its name.

    Its codes stay on record, and its name cannot be used again.
    """
    from codewell.audit.audit_log import command_actor, recorded
    from codewell.programs import programs

    if not yes:
        _confirm_removal(name)

    async def change(connection: Any, *_: Any) -> Program:
        return await recorded(
            connection, command_actor(), partial(programs.remove, connection, name), "program.remove", name
        )

    removed = change_and_announce(change)
    if as_json:
        print_json(removed)
    else:
        say(f"Removed program {name}. Its codes stay on record: codewell code list {name}")


def _confirm_removal(name: str) -> None:
    """Ask for the program's name.

    Raises ProgramUnknown and ProgramRefused before that, ProgramRefused at another name, and Abort at none.
    """
    from codewell.errors import ProgramRefused
    from codewell.programs import overview, programs

    async def work(connection: Any, _: Any) -> Any:
        found = await programs.get(connection, name)
        return found, await overview.stock(connection, name)

    found, stock = with_database(work)
    if found.removed_at is not None:
        raise ProgramRefused(f"{name} is removed already, since {found.removed_at:%Y-%m-%d %H:%M} UTC.")
    say(
        f"Program {name} would end for good: it has {counted(stock.pooled, 'pooled code')} and "
        f"{counted(stock.attached, 'attached code')}. To pause it: codewell program deactivate {name}",
        err=True,
    )
    typed = click.prompt("Type its name to remove it", default="", show_default=False, err=True)
    if not typed.strip():
        raise click.Abort
    if typed.strip() != name:
        raise ProgramRefused(f"The name differs: {name} was not removed.")
