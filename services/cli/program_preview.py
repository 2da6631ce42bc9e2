"""The command that checks a template and shows what its codes would be."""

from datetime import datetime

import click
from pydantic import ValidationError

from services.cli.moments import read_end, read_start, time_zone_option
from services.cli.option_names import first_mistake_in_options
from services.cli.output import json_option, print_facts, print_json, say


@click.command("preview-template")
@click.argument("template")
@click.option("--codes-max", type=int, help="Maximum codes of the program; its strength depends on it.")
@click.option("--valid-from", metavar="TIME", callback=read_start, help="Start of the program's validity.")
@click.option("--valid-until", metavar="TIME", callback=read_end, help="End of the program's validity.")
@time_zone_option
@click.option("--ttl", help="Lifetime of a code, as P30D.")
@click.option("--shared", is_flag=True, help="All profiles get the same code.")
@json_option
def preview_template(
    template: str,
    codes_max: int | None,
    valid_from: datetime | None,
    valid_until: datetime | None,
    ttl: str | None,
    shared: bool,
    as_json: bool,
) -> None:
    """Show samples, space and strength of a template.

    The samples belong to no program. The exit status is 1 if no program can have the template.
    """
    from codewell.errors import ProgramRefused, TemplateInvalid
    from codewell.infra.config.settings import StackSettings, read_settings
    from codewell.programs.template_preview import preview
    from schemas.templates import TemplateToPreview

    given = {"template": template, "codes_max": codes_max, "valid_from": valid_from, "valid_until": valid_until,
             "ttl": ttl, "shared": shared}  # fmt: skip
    try:
        wanted = TemplateToPreview.model_validate(given)
    except ValidationError as error:
        sentence = f"{first_mistake_in_options(error, 'the template')}."
        raise ProgramRefused(sentence, reason="field_invalid") from error
    found = preview(wanted, read_settings(StackSettings).guesses_per_s)
    if as_json:
        print_json(found)
    elif found.codes:
        for code in found.codes:
            say(code)
        say()
        print_facts(
            {
                "characters": found.length,
                "different codes": f"{int(found.space or 0):,} ({found.bits} bits)",
                "safe maximum": found.codes_max_safe,
            }
        )
    if not as_json:
        if found.strength is not None:
            say(found.strength.sentence)
        if found.check is not None:
            say(found.check)
    if found.error is not None:
        raise TemplateInvalid(found.error.detail)
