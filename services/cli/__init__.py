"""The command-line program `codewell`. Each command imports its own dependencies, so that the others start fast."""

import logging

import click

from services.cli.alert import alert
from services.cli.audit import audit
from services.cli.bench import bench
from services.cli.code import code
from services.cli.code_change import change
from services.cli.code_export import export
from services.cli.code_import import import_, list_imports, undo_import
from services.cli.code_life import attach, delete, detach, update
from services.cli.code_list import list_ as list_codes
from services.cli.code_reissue import reissue
from services.cli.code_till import activate, deactivate, hold, release
from services.cli.commands import Commands
from services.cli.config import config
from services.cli.console import console
from services.cli.dlq import dlq
from services.cli.dlq_handling import purge
from services.cli.dlq_handling import replay as replay_letters
from services.cli.doctor import doctor
from services.cli.keys import keys
from services.cli.order import order
from services.cli.profile import profile
from services.cli.program import program
from services.cli.program_forecast import forecast
from services.cli.program_preview import preview_template
from services.cli.program_removal import remove
from services.cli.receipt import receipt
from services.cli.reconcile import reconcile
from services.cli.reservation import reservation
from services.cli.schemas import schemas
from services.cli.send import send
from services.cli.stack import demo, generator, issuer, lifecycle, login, migrate, standalone, topics
from services.cli.status import status
from services.cli.token import token
from services.cli.webhook import webhook
from services.cli.webhook_deliveries import deliveries, replay, resend


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="codewell", message="%(prog)s %(version)s")
def codewell() -> None:
    """Attach promo codes to customers and keep pools of codes full.

    Settings are CODEWELL_* variables; without them, commands use the stack in CODEWELL_HOME (default: .codewell). For
    shell completion, add eval "$(_CODEWELL_COMPLETE=bash_source codewell)" to ~/.bashrc (or zsh_source to ~/.zshrc).
    """


for _command in (
    standalone, demo, issuer, generator, console, lifecycle, migrate, topics, login, config, program, code, profile,
    token, send, webhook, order, receipt, reservation, status, doctor, alert, dlq, audit, reconcile, keys, schemas,
    bench,
):  # fmt: skip
    codewell.add_command(_command)
for _step in (
    list_codes, attach, detach, activate, deactivate, hold, release, update, reissue, change, delete, import_,
    list_imports, undo_import, export,
):  # fmt: skip
    code.add_command(_step)
for _part in (remove, preview_template, forecast):
    program.add_command(_part)
for _handling in (replay_letters, purge):
    dlq.add_command(_handling)
for _sending in (deliveries, resend, replay):
    webhook.add_command(_sending)


def main() -> None:
    """Run the command that the arguments name."""
    # A command reports an error as one sentence; a service configures its own logging.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    codewell(prog_name="codewell")
