"""Commands that check: the promises on a live database, and the log of what people did."""

from datetime import datetime
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from schemas.program import Moment
from services.cli.output import as_json, print_json, print_table, with_database


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def audit(context: click.Context, as_json: bool) -> None:
    """Check I1 to I6 on the live database and name the rows that break them; or look at the log of what people did."""
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
        click.secho(f"{rule.promise}: {rule.says} ({breaking:,} times)", fg="red")
        print_table(rows, "")
        click.echo()
    if findings:
        raise click.ClickException(f"{len(findings)} of {len(rules())} rules are broken.")
    if not as_json:
        click.echo(f"I1 to I6 hold: {len(rules())} rules checked in one snapshot, no row breaks any.")


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        return TypeAdapter(Moment).validate_python(given)
    except ValidationError as error:
        raise click.BadParameter(f"{given!r} is not like 2026-12-01T00:00:00Z.") from error


@audit.command()
@click.option("--actor", metavar="NAME", help="What this token or user did.")
@click.option("--program", metavar="NAME", help="What was done to this program.")
@click.option("--verb", metavar="VERB", help="Of this kind, as program.update, or all that begin so, as program.")
@click.option("--since", callback=_moment, metavar="TIME", help="Done since; ISO 8601 with a time zone.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option(
    "--before", type=click.IntRange(1), metavar="PLACE", help="Go on before this place, as the last line says."
)
@as_json
def log(as_json: bool, limit: int, before: int | None, **filters: Any) -> None:
    """List what people did, the newest first: who, what, when; never a code or a profile's id."""
    from codewell.audit import audit_log

    found = with_database(lambda connection, _: audit_log.page(connection, limit, before, **filters))
    if as_json:
        for entry in found:
            print_json(entry._asdict())
        return
    print_table([entry._asdict() for entry in found], "There is no such entry.")
    if len(found) == limit:
        click.echo(f"There may be more: codewell audit log --before {found[-1].place}")


@audit.command()
@click.option("--head", metavar="PLACE:HASH", help="A head that was printed before, and kept elsewhere.")
@as_json
def verify(head: str | None, as_json: bool) -> None:
    """Check that no entry of the log was changed, taken out or put in, and print its head.

    The last entries are safe by a head from before alone: keep what is printed where nobody who may write to the
    database may write, and give it back with --head.
    """
    from codewell.audit import audit_log

    anchor = _head(head)
    verdict = with_database(lambda connection, _: audit_log.verify(connection, anchor))
    if as_json:
        print_json({"entries": verdict.entries, "head": str(verdict.head), "wrong": verdict.wrong})
    elif verdict.wrong is None:
        click.echo(f"{verdict.entries:,} entries are as they were written. Head: {verdict.head}")
    if verdict.wrong is not None:
        raise click.ClickException(f"{verdict.wrong} The {verdict.entries:,} entries before are as they were written.")


def _head(given: str | None) -> Any:
    from codewell.audit.audit_log import ChainHead

    if given is None:
        return None
    place, _, digits = given.partition(":")
    try:
        return ChainHead(int(place), bytes.fromhex(digits).hex())
    except ValueError as error:
        raise click.BadParameter("is PLACE:HASH, as codewell audit verify prints it.", param_hint="--head") from error
