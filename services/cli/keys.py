"""Commands for the master key, which wraps the programs' keys in the database."""

import sys

import click

from codewell.plurals import counted
from services.cli.output import json_option, print_json, print_table, say, with_database


@click.group()
def keys() -> None:
    """Show and rotate the master key."""


@keys.command()
@json_option
def status(as_json: bool) -> None:
    """Count stored keys by the master key that encrypts them."""
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
        print_table(rows, "No keys are stored yet.")


@keys.command()
@json_option
def rotate(as_json: bool) -> None:
    """Re-encrypt all keys with CODEWELL_MASTER_KEY.

    Also encrypts plain keys. CODEWELL_MASTER_KEY_PREVIOUS must hold the master keys in use until now. Codes do not
    change, and services keep running. Safe to interrupt and to repeat.
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
        say(f"Encrypted {counted(done, 'key')} with the new master key: no other master key is needed any more.")
    else:
        say("All keys are encrypted with this master key already: no other master key is needed.")
