"""The command that looks for what is wrong, and says what to mend."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from services.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from codewell.doctor.check_result import CheckResult

# Connections of one worker at most, its reports' among them.
CONNECTIONS_MAX: Final = {"issuer": 6, "generator": 22, "console": 15, "lifecycle": 3}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Look for what is wrong, and say what to mend.

    Checks settings, Postgres, schema, workers, versions, keys, topics, clocks, disk, lag, dead letters and the mail
    server, and changes nothing. What is down does not keep it from looking at the rest. Exits with status 1 if it finds
    an error; warnings and what it cannot see leave it 0.
    """
    from codewell.doctor.check_result import LEVELS, is_well

    found = asyncio.run(_look())
    if as_json:
        print_json({"well": is_well(found), "findings": [one._asdict() for one in found]})
    else:
        for one in sorted(found, key=lambda one: LEVELS.index(one.level)):
            _print(one)
    if not is_well(found):
        raise click.exceptions.Exit(1)


async def _look() -> "list[CheckResult]":
    from codewell.doctor.check_result import error_of
    from codewell.doctor.examination import examine
    from codewell.doctor.setting_rules import CHECK
    from codewell.errors import CodewellError
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.webhooks.settings import WebhookSettings

    found, reply_topics = _settings()
    try:
        settings = read_settings(StackSettings)
    except CodewellError as error:
        # Each service says the same of it.
        return [*found, *([] if any(one.level == "error" for one in found) else [error_of(CHECK, error)])]
    try:
        mail = read_settings(WebhookSettings)
    except CodewellError:
        # What is wrong with them is found already.
        mail = None
    return [*found, *await examine(settings, reply_topics, CONNECTIONS_MAX, mail)]


def _settings() -> "tuple[list[CheckResult], tuple[str, ...]]":
    """What is wrong with the settings of all processes, and the reply topics that they name."""
    from codewell.doctor.check_result import CheckResult, error_of
    from codewell.doctor.setting_rules import CHECK, Given, contradictions, unknown_findings
    from codewell.errors import CodewellError
    from codewell.infra.config.effective_settings import effective_settings
    from codewell.infra.config.settings import read_settings
    from codewell.infra.config.unknown_variables import unknown_variables
    from services.cli.settings_reference import known_variables
    from services.console.settings import ConsoleSettings
    from services.generator.settings import GeneratorSettings
    from services.issuer.settings import IssuerSettings

    given: dict[str, Any] = {}
    refused: dict[str, CheckResult] = {}
    reply_topics: tuple[str, ...] = ()
    for kind in (IssuerSettings, GeneratorSettings, ConsoleSettings):
        try:
            given |= {one.variable: Given(one.value, one.source) for one in effective_settings(kind)}
            if kind is IssuerSettings:
                reply_topics = read_settings(IssuerSettings).reply_topics
        except CodewellError as error:
            refused.setdefault(str(error), error_of(CHECK, error))
    found = [*refused.values(), *unknown_findings(unknown_variables(known_variables())), *contradictions(given)]
    return found or [CheckResult(CHECK, "well", "known, and without contradictions")], reply_topics


def _print(finding: "CheckResult") -> None:
    colours = {"error": "red", "warning": "yellow", "unseen": "cyan", "well": "green"}
    click.secho(f"{finding.level:<8}", fg=colours[finding.level], nl=False)
    say(f" {finding.check:<10}{finding.says}.")
    if finding.mend is not None:
        say(f"{'':19}-> {finding.mend}")
