"""The command-line program `codewell`. Each command imports its own dependencies, so that the others start fast."""

import logging

import click

from services.cli.audit import audit
from services.cli.bench import bench
from services.cli.code import code
from services.cli.code_export import export
from services.cli.code_import import import_, undo_import
from services.cli.code_life import activate, attach, deactivate, delete, detach, update
from services.cli.commands import Commands
from services.cli.config import config
from services.cli.dlq import dlq
from services.cli.dlq_handling import purge
from services.cli.dlq_handling import replay as replay_letters
from services.cli.keys import keys
from services.cli.profile import profile
from services.cli.program import program
from services.cli.reconcile import reconcile
from services.cli.send import send
from services.cli.stack import console, demo, generator, issuer, login, migrate, standalone, topics
from services.cli.token import token


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="codewell", message="%(prog)s %(version)s")
def codewell() -> None:
    """Attach promo codes to customers and keep pools of codes full.

    Settings are CODEWELL_* variables; without them, commands use the stack in CODEWELL_HOME (default: .codewell). For
    shell completion, add eval "$(_CODEWELL_COMPLETE=bash_source codewell)" to ~/.bashrc (or zsh_source to ~/.zshrc).
    """


for _command in (
    standalone, demo, issuer, generator, console, migrate, topics, login, config, program, code, profile, token, send,
    dlq, audit, reconcile, keys, bench,
):  # fmt: skip
    codewell.add_command(_command)
for _step in (attach, detach, activate, deactivate, update, delete, import_, undo_import, export):
    code.add_command(_step)
for _handling in (replay_letters, purge):
    dlq.add_command(_handling)


def main() -> None:
    """Run the command that the arguments name."""
    # A command reports an error as one sentence; a service configures its own logging.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    codewell(prog_name="codewell")
