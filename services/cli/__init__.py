"""The command-line program `codewell`. A command is imported once it is asked for, so that the others start fast."""

import logging
from typing import Final

import click

from services.cli.commands import Commands

# Where each command is: a module of this package, and a name in it.
_PLACES: Final = {
    "alert": "alert:alert",
    "audit": "audit:audit",
    "bench": "bench:bench",
    "code": "code:code",
    "config": "config:config",
    "console": "console:console",
    "demo": "stack:demo",
    "dlq": "dlq:dlq",
    "doctor": "doctor:doctor",
    "generator": "stack:generator",
    "issuer": "stack:issuer",
    "keys": "keys:keys",
    "lifecycle": "stack:lifecycle",
    "login": "stack:login",
    "migrate": "stack:migrate",
    "order": "order:order",
    "profile": "profile:profile",
    "program": "program:program",
    "receipt": "receipt:receipt",
    "reconcile": "reconcile:reconcile",
    "reservation": "reservation:reservation",
    "schemas": "schemas:schemas",
    "send": "send:send",
    "standalone": "stack:standalone",
    "status": "status:status",
    "token": "token:token",
    "topics": "stack:topics",
    "webhook": "webhook:webhook",
}


@click.group(
    cls=Commands,
    places=_PLACES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="codewell", message="%(prog)s %(version)s")
def codewell() -> None:
    """Attach promo codes to customers and keep pools of codes full.

    Settings are CODEWELL_* variables; without them, commands use the stack in CODEWELL_HOME (default: .codewell). For
    shell completion, add eval "$(_CODEWELL_COMPLETE=bash_source codewell)" to ~/.bashrc (or zsh_source to ~/.zshrc).
    """


def main() -> None:
    """Run the command that the arguments name."""
    # A command reports an error as one sentence; a service configures its own logging.
    for library in ("aiokafka", "asyncio"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    codewell(prog_name="codewell")
