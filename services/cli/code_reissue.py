"""The command that gives a customer another code for one that is lost."""

from typing import Any

import click

from services.cli.code import facts_of
from services.cli.output import json_option, print_facts, print_json, with_database
from services.cli.pool_demands import demand_if_low

REASON_MAX = 500


@click.command()
@click.argument("program")
@click.argument("text", metavar="[CODE]", required=False)
@click.option("--profile", metavar="ID", help="Instead of CODE: the profile whose one living code is meant.")
@click.option("--reason", required=True, help="Why; it is recorded. Write no names.")
@click.option(
    "--expires",
    type=click.Choice(["same", "fresh"]),
    default="same",
    show_default=True,
    help="Whether the new code expires when the old one does, or as a code that is attached now.",
)
@json_option
def reissue(program: str, text: str | None, profile: str | None, reason: str, expires: Any, as_json: bool) -> None:
    """Give a customer another code for CODE of PROGRAM.

    CODE is deleted, and the next code of the pool is attached to its profile.
    """
    from codewell.audit import audit_log
    from codewell.codes.program_codes import ProgramCodes
    from codewell.infra.uuid7 import uuid7
    from codewell.issuing import reissue as steps
    from codewell.pool.minter_cache import Minters
    from codewell.programs import programs

    if (text is None) == (profile is None):
        raise click.UsageError("Give either CODE or --profile.")
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_MAX:
        raise click.BadParameter(f"must have 1 to {REASON_MAX} characters.", param_hint="--reason")
    wanted = steps.ReissueWanted(text, profile, reason, expires)

    async def work(connection: Any, settings: Any) -> Any:
        found = await programs.get(connection, program)
        codes = ProgramCodes(connection, Minters(*settings.master_keys), found.id)

        async def attempt(is_last: bool) -> Any:
            return await steps.reissue(codes, wanted, uuid7(), audit_log.command_actor(), is_last=is_last)

        async def demand() -> None:
            await demand_if_low(connection, settings, found.id)

        done = await steps.until_there_is_a_code(attempt, demand)
        await demand()
        return done

    done = with_database(work)
    facts = {**facts_of(done.code), "replaces": str(done.replaces), "reissues_left": done.left}
    (print_json if as_json else print_facts)(facts)
