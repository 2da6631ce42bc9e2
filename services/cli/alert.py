"""Commands for the alerts of programs."""

from typing import Any, Final, get_args

import click

from codewell.plurals import counted
from schemas.alerts import AlertKind, AlertLevel
from services.cli.output import json_option, print_json, print_table, say, with_database

_SHOWN_MAX: Final = 1_000


@click.group()
def alert() -> None:
    """List and clear alerts of programs."""


@alert.command("list")
@click.argument("program", required=False)
@click.option("--cleared", is_flag=True, help="List the cleared alerts instead of the open ones.")
@click.option("--kind", type=click.Choice(get_args(AlertKind)), help="Only alerts of this kind.  [default: all]")
@click.option("--level", type=click.Choice(get_args(AlertLevel)), help="Only alerts of this level.  [default: all]")
@json_option
def list_(program: str | None, cleared: bool, kind: AlertKind | None, level: AlertLevel | None, as_json: bool) -> None:
    """List the newest alerts of PROGRAM, or of all programs."""
    from codewell.alerts import alerts
    from codewell.programs import programs

    async def work(connection: Any, _: Any) -> Any:
        if program is not None:
            await programs.get(connection, program)
        return await alerts.page_of_all(
            connection, _SHOWN_MAX, program=program, kind=kind, level=level, cleared=cleared
        )

    found = [one.model_dump() for one in with_database(work)]
    if as_json:
        for one in found:
            print_json(one)
        return
    columns = (
        "program", "kind", "level", "key", "raised_at", "last_at", "count", "details",
        *(("cleared_by",) if cleared else ()),
    )  # fmt: skip
    none = f"No {'cleared' if cleared else 'open'} alert{'' if program is None else f' of {program}'}."
    print_table([{name: one[name] for name in columns} for one in found], none)


@alert.command()
@click.argument("program")
@click.option("--kind", type=click.Choice(get_args(AlertKind)), help="Only alerts of this kind.  [default: all]")
@click.option("--key", help="Only the alert with this key.  [default: all]")
@json_option
def clear(program: str, kind: AlertKind | None, key: str | None, as_json: bool) -> None:
    """Clear open alerts of PROGRAM; what an alert has stopped goes on."""
    from codewell.alerts import alerts
    from codewell.audit.audit_log import command_actor, record
    from codewell.programs import programs

    async def work(connection: Any, _: Any) -> int:
        found = await programs.get(connection, program)
        who = command_actor()
        async with connection.transaction():
            cleared = await alerts.clear_alerts(connection, found.id, who.actor, kind, key)
            if cleared:
                details = {} if kind is None else {"kind": kind}
                await record(connection, who, "alert.clear", program, cleared=cleared, **details)
        return cleared

    cleared = with_database(work)
    if as_json:
        print_json({"cleared": cleared})
    else:
        say(f"Cleared {counted(cleared, 'alert')} of {program}.")
