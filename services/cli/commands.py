"""A command group that prints refusals as sentences."""

import click

from codewell.errors import CodewellError, ProgramRefused, TemplateInvalid
from codewell.infra.config.unknown_variables import possible_settings, unknown_variables
from services.cli.output import printable, say


class Commands(click.Group):
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
