"""The command that runs benchmarks, which are not part of the distribution."""

import os
import sys
from importlib.util import find_spec

import click

from codewell.errors import StackUnavailable


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.pass_context
def bench(context: click.Context) -> None:
    """Run benchmarks (in a checkout of the repository)."""
    if find_spec("benchmarks") is None:
        raise StackUnavailable(
            "The benchmarks are not part of the package: run `make bench` in a checkout of the repository."
        )
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *context.args])  # noqa: S606  the current interpreter
