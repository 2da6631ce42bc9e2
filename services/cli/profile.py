"""Commands for profiles: import and show their fields, and erase them."""

import io
import sys
from typing import BinaryIO

import click

from codewell.plurals import counted
from services.cli.output import json_option, print_facts, print_json, print_table, say, with_database


@click.group()
def profile() -> None:
    """Import, show and forget the stored fields of profiles."""


@profile.command("import")
@click.argument("file", type=click.File("rb"))
@json_option
def import_(file: BinaryIO, as_json: bool) -> None:
    """Import profiles from a CSV file (UTF-8, with a header).

    The column profile_id holds the profile id; every other column is a field. A row replaces all fields of its profile;
    an empty cell is no field. Invalid rows are reported and skipped. FILE may be - for standard input.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.profiles.csv_import import import_profiles

    # The CSV reader needs unchanged line ends.
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        done = with_database(lambda connection, _: import_profiles(connection, lines, _progress, command_actor()))
    finally:
        # The caller that opened the file closes it.
        lines.detach()
    if _shows():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        print_json({"written": done.written, "refused": done.refused, "rows": [one._asdict() for one in done.first]})
        return
    say(f"Imported {counted(done.written, 'profile')}.")
    if done.refused:
        say(f"Skipped {counted(done.refused, 'invalid row')}; the first ones:")
        print_table([one._asdict() for one in done.first], "")


@profile.command("fields")
@json_option
def list_fields(as_json: bool) -> None:
    """List the fields that profiles have, for exports."""
    from codewell.profiles import profiles

    found = with_database(lambda connection, _: profiles.field_names(connection))
    if as_json:
        for name in found:
            print_json({"name": name})
    else:
        print_table([{"field": name} for name in found], "No profile has fields.")


@profile.command()
@click.argument("profile_id", metavar="ID")
@json_option
def show(profile_id: str, as_json: bool) -> None:
    """Show the stored fields of profile ID."""
    from codewell.profiles import profiles

    profiles.check_id(profile_id)
    found = with_database(lambda connection, _: profiles.get(connection, profile_id))
    if as_json:
        print_json(found)
    else:
        print_facts({"profile_id": found.profile_id, "changed_at": found.changed_at, **found.fields})


@profile.command()
@click.argument("profile_id", metavar="ID")
@json_option
def forget(profile_id: str, as_json: bool) -> None:
    """Delete the fields of profile ID and replace its id.

    A random id replaces it in all stored answers and attachments; its codes stay attached.
    """
    from codewell.audit.audit_log import command_actor
    from codewell.profiles import forgetting, profiles

    profiles.check_id(profile_id)
    answers = with_database(lambda connection, _: forgetting.forget(connection, profile_id, command_actor()))
    if as_json:
        print_json({"answers": answers})
    else:
        say(
            f"Forgot the profile: {counted(answers, 'stored answer')} now {'has' if answers == 1 else 'have'} a "
            "random id."
        )


def _shows() -> bool:
    return sys.stderr.isatty()


def _progress(rows: int) -> None:
    if _shows():
        click.echo(f"\r{rows:,} rows", err=True, nl=False)
