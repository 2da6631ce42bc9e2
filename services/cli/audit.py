"""The command that checks the promises on a live database."""

import click

from services.cli.output import as_json, print_json, print_table, with_database


@click.command()
@as_json
def audit(as_json: bool) -> None:
    """Check I1 to I6 on the live database and name the rows that break them."""
    from services.store.audit import RULES
    from services.store.audit import audit as check

    findings = with_database(lambda connection, _: check(connection))
    if as_json:
        print_json(
            {
                "rules": len(RULES),
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
        raise click.ClickException(f"{len(findings)} of {len(RULES)} rules are broken.")
    if not as_json:
        click.echo(f"I1 to I6 hold: {len(RULES)} rules checked in one snapshot, no row breaks any.")
