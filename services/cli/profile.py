"""Commands for profiles: what is known of customers beside their id, and forgetting them."""

import io
import sys
from typing import BinaryIO

import click

from services.cli.output import as_json, print_facts, print_json, print_table, with_database


@click.group()
def profile() -> None:
    """Keep and forget what is known of customers, for exports."""


@profile.command("import")
@click.argument("file", type=click.File("rb"))
@as_json
def import_(file: BinaryIO, as_json: bool) -> None:
    """Write the profiles of FILE, CSV in UTF-8 with a header.

    The column profile_id names the profile, every other column a field. A profile gets the fields of its row and
    loses all others; an empty cell is no field. What is wrong with a row is said, and the others are written. FILE may
    be - for standard input.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.profiles.csv_import import import_profiles

    # The CSV reader wants line ends as they are.
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        done = with_database(lambda connection, _: import_profiles(connection, lines, _progress, command_actor()))
    finally:
        # The file is closed by the one who opened it.
        lines.detach()
    if _shows():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        print_json({"written": done.written, "refused": done.refused, "rows": [one._asdict() for one in done.first]})
        return
    click.echo(f"{done.written:,} profiles are written.")
    if done.refused:
        click.echo(f"{done.refused:,} rows are not, of which the first are:")
        print_table([one._asdict() for one in done.first], "")


@profile.command()
@click.argument("profile_id", metavar="ID")
@as_json
def show(profile_id: str, as_json: bool) -> None:
    """Show what is known of profile ID beside its codes."""
    from codewell.profiles import profiles

    profiles.check_id(profile_id)
    found = with_database(lambda connection, _: profiles.get(connection, profile_id))
    if as_json:
        print_json(found)
    else:
        print_facts({"profile_id": found.profile_id, "changed_at": found.changed_at, **found.fields})


@profile.command()
@click.argument("profile_id", metavar="ID")
@as_json
def forget(profile_id: str, as_json: bool) -> None:
    """Forget profile ID: its fields go, a random id takes its place everywhere, and its codes stay used."""
    from codewell.audit.audit_log import command_actor
    from codewell.profiles import forgetting, profiles

    profiles.check_id(profile_id)
    answers = with_database(lambda connection, _: forgetting.forget(connection, profile_id, command_actor()))
    if as_json:
        print_json({"answers": answers})
    else:
        click.echo(f"The profile is forgotten: {answers:,} stored answers name a random id in its place.")


def _shows() -> bool:
    return sys.stderr.isatty()


def _progress(rows: int) -> None:
    if _shows():
        click.echo(f"\r{rows:,} rows", err=True, nl=False)
