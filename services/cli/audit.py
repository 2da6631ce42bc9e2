"""Commands that check the invariants on a live database, and read the log of people's actions."""

from datetime import datetime
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from schemas.program import Moment
from services.cli.output import counted, json_option, print_json, print_table, with_database


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def audit(context: click.Context, as_json: bool) -> None:
    """Check the invariants I1 to I6, or read the audit log.

    Without a command: check the live database in one snapshot, and list the rows that violate an invariant.
    """
    if context.invoked_subcommand is None:
        _check(as_json)


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
        click.echo()
    if findings:
        raise click.ClickException(f"{len(findings)} of {len(rules())} rules are violated: see the rows above.")
    if not as_json:
        click.echo(f"I1 to I6 hold: {len(rules())} rules checked in one snapshot, no violations.")


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        return TypeAdapter(Moment).validate_python(given)
    except ValidationError as error:
        raise click.BadParameter(f"{given!r} is not a time such as 2026-12-01T00:00:00Z.") from error


@audit.command()
@click.option("--actor", metavar="NAME", help="Only actions of this token or database user.")
@click.option("--program", metavar="NAME", help="Only changes of this program.")
@click.option("--verb", metavar="VERB", help="Only this action (program.update) or group of actions (program).")
@click.option(
    "--since", callback=_moment, metavar="TIME", help="Only entries from this time on; ISO 8601 with a time zone."
)
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
        click.echo(f"There may be more: codewell audit log --before {found[-1].place}")


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
        click.echo(f"{counted(verdict.entries, 'entry')} verified. Head: {verdict.head}")
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
