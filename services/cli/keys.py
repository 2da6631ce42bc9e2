"""Commands for the master key, with which the keys of programs are wrapped in the database."""

import sys

import click

from services.cli.output import as_json, print_json, print_table, with_database


@click.group()
def keys() -> None:
    """See with which master key the database's keys are wrapped, and wrap them with a new one."""


@keys.command()
@as_json
def status(as_json: bool) -> None:
    """Say how many keys are stored plain, and how many are wrapped with which master key."""
    from codewell.keys import rotation
    from codewell.keys.master_keys import MasterKeys

    found = with_database(
        lambda connection, settings: rotation.status(connection, MasterKeys(*settings.all_master_keys))
    )
    rows = [one._asdict() for one in found]
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(rows, "There are no keys yet.")


@keys.command()
@as_json
def rotate(as_json: bool) -> None:
    """Wrap all keys with CODEWELL_MASTER_KEY, plain ones too, while services run. Safe to stop and to repeat.

    CODEWELL_MASTER_KEY_PREVIOUS gives the master keys that they are wrapped with now. No code changes.
    """
    from codewell.audit import audit_log
    from codewell.keys import rotation
    from codewell.keys.master_keys import MasterKeys

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} keys", err=True, nl=False)

    done = with_database(
        lambda connection, settings: rotation.rotate(
            connection, MasterKeys(*settings.all_master_keys), audit_log.command_actor(), progress
        )
    )
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        print_json({"rotated": done})
    elif done:
        click.echo(f"{done:,} keys are wrapped with the new master key; no other is needed any more.")
    else:
        click.echo("All keys were wrapped with this master key already; no other is needed.")
