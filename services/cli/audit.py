"""Commands that check the invariants on a live database, and read the log of people's actions."""

from typing import Any

import click

from codewell.plurals import counted
from services.cli.moments import read_start, time_zone_option
from services.cli.output import Progress, json_option, print_json, print_table, say, with_database


@click.group(invoke_without_command=True)
@click.option("--stream", is_flag=True, help="Check I11 instead: fold the topic code-lifecycle, and compare.")
@json_option
@click.pass_context
def audit(context: click.Context, stream: bool, as_json: bool) -> None:
    """Check the invariants, or read the audit log.

    Without a command: check I1 to I6, I9 and I10 on the live database in one snapshot, and list the rows that violate
    one. With --stream: read the stream of codes from its beginning, wait until it has come to the state of the tables,
    and list the codes that it has otherwise (I11).
    """
    if context.invoked_subcommand is None:
        (_check_stream if stream else _check)(as_json)


def _check(as_json: bool) -> None:
    from codewell.audit.promises import audit as check
    from codewell.audit.promises import rules

    findings = with_database(lambda connection, _: check(connection))
    if as_json:
        print_json(
            {
                "rules": len(rules()),
                "clean": not findings,
                "findings": [
                    {"promise": rule.promise, "says": rule.says, "count": breaking, "rows": rows}
                    for rule, breaking, rows in findings
                ],
            }
        )
    for rule, breaking, rows in [] if as_json else findings:
        click.secho(f"{rule.promise}: {rule.says} ({counted(breaking, 'violation')})", fg="red")
        print_table(rows, "")
        say()
    if findings:
        raise click.ClickException(f"{len(findings)} of {len(rules())} rules are violated: see the rows above.")
    if not as_json:
        say(f"I1 to I6, I9 and I10 hold: {len(rules())} rules checked in one snapshot, no violations.")


def _check_stream(as_json: bool) -> None:
    from codewell.infra.postgres.connection import connection as connect
    from codewell.lifecycle import stream_audit

    async def work(connection: Any, settings: Any) -> Any:
        async with connect(settings.postgres_url.get_secret_value(), "codewell-cli") as watching:
            verdict = await stream_audit.audit(
                connection, watching, settings.kafka_config, settings.topic_prefix,
                on_read=Progress("events read").report,
            )  # fmt: skip
        rows = await connection.fetch("SELECT id, name FROM program")
        return verdict, {row["id"]: row["name"] for row in rows}

    verdict, names = with_database(work)
    compared = verdict.compared
    differences = [_difference(one, names) for one in compared.differences[: stream_audit.DIFFERENCES_SHOWN_MAX]]
    breaches = [one._asdict() for one in verdict.breaches]
    if as_json:
        print_json({
            "clean": verdict.is_clean, "events": verdict.events, "copies": verdict.copies, "codes": compared.codes,
            "differing": compared.differing, "differences": differences, "breaches": verdict.breach_count,
            "first_breaches": breaches, "partitions_without_beginning": verdict.headless,
        })  # fmt: skip
    else:
        for rows in filter(None, (differences, breaches)):
            print_table(rows, "")
    if verdict.headless:
        raise click.ClickException(
            f"I11: the topic has lost the beginning of {counted(len(verdict.headless), 'partition')}, so its codes are "
            "not all in it. See docs/lifecycle.md on retention."
        )
    if not verdict.is_clean:
        raise click.ClickException(
            f"I11: the stream has {counted(compared.differing, 'code')} otherwise than the tables, and "
            f"{counted(verdict.breach_count, 'event')} that cannot follow from those before: see above."
        )
    if not as_json:
        say(f"I11 holds: {verdict.events:,} events give the state of all {compared.codes:,} codes.")


def _difference(one: Any, names: Any) -> dict[str, object]:
    span = one.span
    return {
        "program": names.get(span.program_id, span.program_id), "place": f"{span.listed}:{span.major}:{span.first}",
        "codes": one.codes, "kind": one.kind, "stream": _state(one.stream), "tables": _state(one.tables),
    }  # fmt: skip


def _state(state: Any) -> str | None:
    """A state in one cell: its word, and what else is so."""
    if state is None:
        return None
    more = {name: value for name, value in state._asdict().items() if value and name != "state"}
    return " ".join([state.state, *(f"{name}={value}" for name, value in more.items())])


@audit.command()
@click.option("--actor", metavar="NAME", help="Only actions of this token or database user.")
@click.option("--program", metavar="NAME", help="Only changes of this program.")
@click.option("--verb", metavar="VERB", help="Only this action (program.update) or group of actions (program).")
@click.option(
    "--since", callback=read_start, metavar="TIME", help="Only entries from this date or time on, as 2026-12-01."
)
@time_zone_option
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number of entries."
)
@click.option(
    "--before", type=click.IntRange(1), metavar="PLACE", help="Continue before this entry, as printed in the last line."
)
@json_option
def log(as_json: bool, limit: int, before: int | None, **filters: Any) -> None:
    """List the audit log, newest entries first.

    An entry says who did what and when. It never holds a code or a profile id.
    """
    from codewell.audit import audit_log

    found = with_database(lambda connection, _: audit_log.page(connection, limit, before, **filters))
    if as_json:
        for entry in found:
            print_json(entry._asdict())
        return
    print_table([entry._asdict() for entry in found], "No matching entries.")
    if len(found) == limit:
        say(f"There may be more: codewell audit log --before {found[-1].place}")


@audit.command()
@click.option("--head", metavar="PLACE:HASH", help="The head that an earlier run printed.")
@json_option
def verify(head: str | None, as_json: bool) -> None:
    """Verify the audit log's hash chain and print its head.

    Detects changed, removed and inserted entries. Only an earlier head detects entries cut off at the end: store the
    printed head outside the database, and pass it with --head.
    """
    from codewell.audit import audit_log

    anchor = _head(head)
    verdict = with_database(lambda connection, _: audit_log.verify(connection, anchor))
    if as_json:
        print_json({"entries": verdict.entries, "head": str(verdict.head), "wrong": verdict.wrong})
    elif verdict.wrong is None:
        say(f"{counted(verdict.entries, 'entry')} verified. Head: {verdict.head}")
    if verdict.wrong is not None:
        raise click.ClickException(f"{verdict.wrong} Verified before it: {counted(verdict.entries, 'entry')}.")


def _head(given: str | None) -> Any:
    from codewell.audit.audit_log import ChainHead

    if given is None:
        return None
    place, _, digits = given.partition(":")
    try:
        return ChainHead(int(place), bytes.fromhex(digits).hex())
    except ValueError as error:
        raise click.BadParameter(
            "must be PLACE:HASH, as printed by codewell audit verify.", param_hint="--head"
        ) from error
