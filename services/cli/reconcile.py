"""The command that compares published answers with the database, after a fail-over to a standby that lagged."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from codewell.plurals import counted
from services.cli.moments import read_start, time_zone_option
from services.cli.output import Progress, json_option, masked, print_json, say, with_database

if TYPE_CHECKING:
    from codewell.recovery.repair_plan import RepairCase

_SAYS = {
    "lost_answer": "an answer missing in the database",
    "lost_code": "an answered code that is free in the database",
    "two_answers": "a request with two answers",
    "two_profiles": "a code answered to two profiles",
}


@click.command()
@click.option(
    "--since",
    callback=read_start,
    metavar="TIME",
    help="Only answers from this date or time on, as 2026-12-01.  [default: all]",
)
@time_zone_option
@click.option("--repair", is_flag=True, help="Restore lost answers and codes unless another profile has the code.")
@click.option("--unmasked", is_flag=True, help="Print complete profile ids and codes.")
@json_option
def reconcile(since: datetime | None, repair: bool, unmasked: bool, as_json: bool) -> None:
    """Compare published answers with the database.

    Lists answers that the database lost or contradicts. Run it with --repair after a fail-over to an asynchronous
    standby, before issuers start. Exit status 1 if a difference remains.
    """

    async def work(connection: Any, settings: Any) -> dict[str, int]:
        from codewell.audit import audit_log
        from codewell.infra.config.settings import read_settings
        from codewell.pool.minter_cache import Minters
        from codewell.recovery import published_answers
        from codewell.recovery.reconciliation import AnswerComparison
        from codewell.recovery.repair import Repair
        from services.issuer.settings import IssuerSettings

        counts = {"answers": 0, "cases": 0, "repaired": 0, "left": 0}
        topics = [settings.topic_prefix + name for name in _reply_topics()]
        topics += [name for name in read_settings(IssuerSettings).reply_topics if name not in topics]
        comparison = AnswerComparison(connection)
        await comparison.open()
        progress = Progress("answers compared")
        async for answers in published_answers.read_answers(settings.kafka_config, topics, since):
            await comparison.compare(answers)
            counts["answers"] += len(answers)
            progress.report(counts["answers"])
        if repair:
            await audit_log.record(connection, audit_log.command_actor(), "reconcile.repair", begun=True)
        repairer = Repair(connection, Minters(*settings.master_keys))
        progress = Progress("differences")
        async for missing in comparison.in_order():
            for case in await (repairer.repair if repair else repairer.plan)(missing):
                counts["cases"] += 1
                counts["repaired" if repair and case.can_repair else "left"] += 1
                _say(case, repair=repair, unmasked=unmasked, as_json=as_json)
            progress.report(counts["cases"])
        if counts["repaired"]:
            await audit_log.record(connection, audit_log.command_actor(), "reconcile.repair", count=counts["repaired"])
        return counts

    counts = with_database(work)
    if as_json:
        print_json({"kind": "summary", **counts})
    elif not counts["cases"]:
        say(f"{counted(counts['answers'], 'answer')} in Kafka: no difference from the database.")
    else:
        say(
            f"{counted(counts['answers'], 'answer')} in Kafka: repaired {counts['repaired']:,} of "
            f"{counted(counts['cases'], 'difference')}."
        )
    if counts["left"]:
        raise click.ClickException(
            f"Not repaired: {counted(counts['left'], 'difference')}. "
            f"{'Check each one' if repair else 'Run it with --repair'}."
        )


def _reply_topics() -> list[str]:
    from schemas.topics import REQUESTS, reply_to

    return [reply_to(name) for name in REQUESTS]


def _say(case: "RepairCase", *, repair: bool, unmasked: bool, as_json: bool) -> None:
    def shown(text: str | None) -> str | None:
        return text if text is None or unmasked else masked(text)

    facts = case._asdict() | {"code": shown(case.code), "profile_id": shown(case.profile_id)}
    facts["repaired"] = repair and facts.pop("can_repair") if repair else False
    if as_json:
        print_json(facts)
        return
    code = "" if case.code is None else f", code {facts['code']} of {case.program}"
    end = "Restored." if facts["repaired"] else case.detail
    say(f"{case.place}: {_SAYS[case.kind]}: request {case.request_id}, profile {facts['profile_id']}{code}. {end}")
