"""A command group that prints refusals as sentences."""

import click

from codewell.errors import CodewellError


class Commands(click.Group):
    """Prints each CodewellError as one sentence on standard error, and exits with status 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except CodewellError as error:
            raise click.ClickException(str(error)) from error
