"""Commands for reservations: codes of a program that are set aside for one campaign or scenario."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from services.cli.moments import read_end, read_start, time_zone_option
from services.cli.output import json_option, print_facts, print_json, print_table, say, with_database

_COUNT = click.IntRange(min=1, max=2**62)
_send_at_option = click.option(
    "--send-at", "send_at", callback=read_start, metavar="TIME",
    help="When the campaign is sent; codes that expire before don't count.",
)  # fmt: skip


@click.group()
def reservation() -> None:
    """Set codes of a program aside for a campaign or scenario."""


@reservation.command()
@click.argument("program")
@click.option("--campaign", "campaign_id", metavar="ID", help="The campaign that gets the codes.")
@click.option("--scenario", "scenario_id", metavar="ID", help="The scenario that gets the codes.")
@click.option("--count", type=_COUNT, required=True, help="How many codes.")
@click.option("--until", callback=read_end, metavar="TIME", required=True, help="When the rest goes back to the pool.")
@_send_at_option
@click.option("--partial", is_flag=True, help="Reserve what there is, if it is less than --count.")
@click.option("--overflow", type=click.Choice(["pool", "refuse"]), default="pool", show_default=True,
              help="What the campaign gets once the reservation is used up: codes of the pool, or none.")  # fmt: skip
@time_zone_option
@json_option
def create(program: str, as_json: bool, **given: Any) -> None:
    """Reserve codes of PROGRAM.

    Prints how many are reserved and where they come from. Fewer codes than --count are refused, with the shortfall,
    unless --partial is given.
    """
    from pydantic import ValidationError

    from codewell.audit.audit_log import command_actor, record
    from codewell.reservations import reservations
    from schemas.reservations import ReservationRequest

    if (given["campaign_id"] is None) == (given["scenario_id"] is None):
        raise click.UsageError("Give --campaign or --scenario, one of both.")
    try:
        wanted = ReservationRequest(**given)
    except ValidationError as error:
        raise click.UsageError("The id of a campaign or scenario has 1 to 200 printable characters.") from error

    async def work(connection: Any, minters: Any) -> Any:
        id_ = await _program_id(connection, program)
        async with connection.transaction():
            made = await reservations.reserve(connection, minters, id_, wanted)
            details = reservations.audit_details(made)
            await record(connection, command_actor(), "reservation.create", program, **details)
        return made

    _print(with_database(work), as_json)


@reservation.command("list")
@click.argument("program")
@click.option("--ended", is_flag=True, help="List those too that have ended.")
@json_option
def list_(program: str, ended: bool, as_json: bool) -> None:
    """List the reservations of PROGRAM, newest first."""
    from codewell.reservations import reservations

    async def work(connection: Any, _: Any) -> Any:
        id_ = await _program_id(connection, program)
        return await reservations.page(connection, id_, 2**62, reservations.LIST_MAX, ended=ended)

    found = with_database(work)
    if as_json:
        for one in found:
            print_json(one.model_dump(mode="json"))
        return
    rows = [
        {
            "id": one.id, "for": one.campaign_id or one.scenario_id, "state": one.state, "reserved": one.reserved,
            "used": one.used, "left": one.left, "until": one.until,
        }
        for one in found
    ]  # fmt: skip
    print_table(rows, f"No reservations of {program}: make one with codewell reservation create.")


@reservation.command()
@click.argument("program")
@click.argument("reservation_id", metavar="ID", type=int)
@json_option
def show(program: str, reservation_id: int, as_json: bool) -> None:
    """Show reservation ID of PROGRAM."""
    from codewell.reservations import reservations

    async def work(connection: Any, _: Any) -> Any:
        return await reservations.get(connection, await _program_id(connection, program), reservation_id)

    _print(with_database(work), as_json)


@reservation.command()
@click.argument("program")
@click.argument("reservation_id", metavar="ID", type=int)
@click.option("--count", type=_COUNT, help="How many codes it is to have, with those that were given.")
@click.option("--until", callback=read_end, metavar="TIME", help="When the rest goes back to the pool.")
@time_zone_option
@json_option
def change(program: str, reservation_id: int, count: int | None, until: datetime | None, as_json: bool) -> None:
    """Change reservation ID of PROGRAM.

    A lower count gives codes back to the pool.
    """
    from codewell.audit.audit_log import command_actor, record
    from codewell.reservations import reservations
    from schemas.reservations import ReservationChanges

    if count is None and until is None:
        raise click.UsageError("Give --count, --until or both.")
    changes = ReservationChanges(count=count, until=until)

    async def work(connection: Any, minters: Any) -> Any:
        id_ = await _program_id(connection, program)
        async with connection.transaction():
            changed = await reservations.change(connection, minters, id_, reservation_id, changes)
            details = reservations.audit_details(changed)
            await record(connection, command_actor(), "reservation.change", program, **details)
        return changed

    _print(with_database(work), as_json)


@reservation.command()
@click.argument("program")
@click.argument("reservation_id", metavar="ID", type=int)
@json_option
def release(program: str, reservation_id: int, as_json: bool) -> None:
    """End reservation ID of PROGRAM.

    The codes that are left go back to the pool.
    """
    from codewell.audit.audit_log import command_actor, record
    from codewell.reservations import reservations

    async def work(connection: Any, _: Any) -> Any:
        id_ = await _program_id(connection, program)
        async with connection.transaction():
            before = await reservations.get(connection, id_, reservation_id)
            ended = await reservations.release(connection, id_, reservation_id)
            if before.ended_at is None:
                details = reservations.audit_details(ended)
                await record(connection, command_actor(), "reservation.release", program, **details)
        return ended

    _print(with_database(work), as_json)


@reservation.command()
@click.argument("program")
@click.option("--count", type=_COUNT, required=True, help="How many codes.")
@_send_at_option
@time_zone_option
@json_option
def availability(program: str, count: int, send_at: datetime | None, as_json: bool) -> None:
    """Say how many codes of PROGRAM a reservation would get now.

    Nothing is reserved.
    """
    from codewell.reservations import reservations

    async def work(connection: Any, _: Any) -> Any:
        return await reservations.availability(connection, await _program_id(connection, program), count, send_at)

    found = with_database(work)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_facts(_flat(found.model_dump()))


async def _program_id(connection: Any, name: str) -> int:
    from codewell.programs import programs

    return (await programs.get(connection, name)).id


def _print(one: Any, as_json: bool) -> None:
    if as_json:
        print_json(one.model_dump(mode="json"))
        return
    facts = {name: value for name, value in _flat(one.model_dump()).items() if value is not None}
    print_facts(facts)
    if one.shortfall and one.state != "released":
        say(f"{one.shortfall:,} codes fewer than asked for.")


def _flat(facts: Mapping[str, Any]) -> dict[str, object]:
    """Facts with the parts of a reservation beside the others."""
    return {name: value for name, value in facts.items() if name != "parts"} | dict(facts.get("parts") or {})
