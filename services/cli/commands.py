"""Command groups: `codewell` itself, and groups that import a command once it is asked for."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from codewell.errors import CodewellError, ProgramRefused, TemplateInvalid
from codewell.infra.config.unknown_variables import possible_settings, unknown_variables
from services.cli.output import DISK_ERRORS, printable, say


class ApartGroup(click.Group):
    """A group of commands that are in other modules too: each is imported when it is run, or its help is shown.

    All of them would take most of the time in which a command starts.
    """

    def __init__(self, *given: Any, places: Mapping[str, str] = MappingProxyType({}), **named: Any) -> None:
        """`places`: by name of the command, its module in `services.cli` and its name there, as `module:name`."""
        super().__init__(*given, **named)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted({*super().list_commands(ctx), *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in self._places:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._places[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"services.cli.{module}"), name)
        return command


class Commands(ApartGroup):
    """Prints each CodewellError as one sentence on standard error, and exits with status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that the arguments name, after a line for each variable that no setting has."""
        if given := possible_settings():
            from codewell.infra.config.settings import StackSettings, variables_of

            # The settings of all services take a third of a command's start.
            if not given <= variables_of([StackSettings]):
                from services.cli.settings_reference import known_variables

                for unknown in unknown_variables(known_variables()):
                    say(f"Warning: {unknown}", err=True)
        try:
            return super().invoke(ctx)
        except CodewellError as error:
            sentences = str(error)
            if isinstance(error, ProgramRefused | TemplateInvalid):
                from services.cli.option_names import in_options

                sentences = in_options(sentences)
            raise click.ClickException("\n".join(map(printable, sentences.split("\n")))) from error
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            what = "the output" if error.filename is None else printable(str(error.filename))
            if error.filename is None:
                _drop_output()
            raise click.ClickException(
                f"Cannot write {what} ({error.strerror}): free disk space, or choose another place. What the command "
                "has changed stays."
            ) from error


def _drop_output() -> None:
    """Send to nowhere what standard output has not written: its end would fail once more, with a status of its own."""
    with suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
