"""Commands that show the settings."""

import click

from services.cli.output import json_option, print_json, print_table


@click.group()
def config() -> None:
    """Show the effective settings."""


@config.command()
@click.argument("process", type=click.Choice(["issuer", "generator", "console", "lifecycle"]), required=False)
@json_option
def show(process: str | None, as_json: bool) -> None:
    """Show the settings of a service, or of commands, with sources.

    Passwords and keys are masked.
    """
    from codewell.imports.settings import ImportSettings
    from codewell.infra.config.effective_settings import effective_settings
    from codewell.infra.config.settings import StackSettings
    from services.console.settings import ConsoleSettings
    from services.generator.settings import GeneratorSettings
    from services.issuer.settings import IssuerSettings
    from services.lifecycle.settings import LifecycleSettings

    kinds: dict[str, type[StackSettings]] = {
        "issuer": IssuerSettings,
        "generator": GeneratorSettings,
        "console": ConsoleSettings,
        "lifecycle": LifecycleSettings,
    }
    rows = list(effective_settings(kinds.get(process or "", ImportSettings)))
    if as_json:
        print_json({row.variable: {"value": row.value, "source": row.source} for row in rows})
    else:
        print_table([row._replace(value=_text(row.value))._asdict() for row in rows], none="")


def _text(value: object) -> str:
    """The value in the syntax of an environment variable."""
    if value in (None, ""):
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
