"""The command that says when a program runs out of codes."""

from typing import Any

import click

from schemas.forecast import Forecast
from services.cli.output import json_option, print_facts, print_json, with_database


@click.command()
@click.argument("name")
@json_option
def forecast(name: str, as_json: bool) -> None:
    """Show when program NAME runs out of codes, and why.

    docs/forecast.md explains the words.
    """
    from codewell.forecast import forecasts
    from codewell.programs import programs

    async def work(connection: Any, _: Any) -> Forecast:
        id_ = (await programs.get(connection, name)).id
        return (await forecasts(connection, [id_]))[id_]

    found = with_database(work)
    if as_json:
        print_json(found)
    else:
        print_facts(facts_of(found))


def facts_of(found: Forecast) -> dict[str, object]:
    """The forecast as names and values to print."""
    facts: dict[str, object] = {"runs_out_at": found.runs_out_at.p50 or "not within two years"}
    if found.runs_out_at.p90 is not None:
        facts["at_high_demand"] = found.runs_out_at.p90
    if found.cause is not None:
        facts |= {"cause": found.cause, "before_valid_until": found.before_valid_until}
    return facts | {"assumes": ", ".join(found.assumes)}
