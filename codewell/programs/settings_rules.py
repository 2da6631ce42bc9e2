"""Validates a program's settings, their changes, and its custom fields."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from codewell.errors import ProgramRefused, TemplateInvalid
from codewell.files.csv_writer import escape_formula
from codewell.minting.strength import check_guessing, check_space
from codewell.minting.template import Template
from schemas.program import Program, ProgramSettings

# For a program without an end, the period in which codes can be guessed.
_GUESSING_PERIOD_DEFAULT: Final = timedelta(days=365)


def check_settings(settings: ProgramSettings, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if a new program's template is malformed, too small or guessable."""
    if settings.source.kind == "template":
        template = Template.parse(settings.source.template)
        check_space(template, settings.codes_max)
        check_guessable(template, settings, guesses_per_s)
        check_begin(template)


def check_change(present: ProgramSettings, settings: ProgramSettings, row: asyncpg.Record) -> None:
    """Raise ProgramRefused if the settings can't change to these; `row` has the program's counters."""
    if settings.name != present.name:
        raise ProgramRefused(f"The short name of {present.name} cannot change: clone the program under the new name.")
    if settings.source.kind != present.source.kind:
        raise ProgramRefused(f"The kind of source of {present.name} cannot change: create a new program.")
    if present.shared and not settings.shared and row["given"]:
        raise ProgramRefused(
            f"{present.name} has attached its shared code: clone the program to give each profile its own."
        )
    had = row["made"] + row["imported"]
    if settings.codes_max < had:
        raise ProgramRefused(f"{present.name} has had {had:,} codes: set its maximum to at least that number.")
    if settings.codes_max < had + row["on_order"]:
        raise ProgramRefused(
            f"{present.name} has had {had:,} codes and {row['on_order']:,} are on order: set its maximum to at "
            "least their sum."
        )


def check_guessable(template: Template, settings: ProgramSettings, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if codes could be guessed and `allow_guessable` is not set."""
    if not settings.allow_guessable:
        check_guessing(template, settings.codes_max, _guessing_period(settings).total_seconds(), guesses_per_s)


def check_begin(template: Template) -> None:
    """Raise TemplateInvalid for codes that a spreadsheet runs as formulas; pasted codes bypass the export's escape."""
    if escape_formula(template.text) != template.text:
        begin = template.text.lstrip()[:1]
        raise TemplateInvalid(
            f"Spreadsheets run codes that begin with {begin} as formulas: begin with another character, or write "
            f"{{[{begin}] 1}} to use it anyway."
        )


def saved_fields(program: Program, given: Mapping[str, str]) -> dict[str, str]:
    """The given custom fields that are saved on codes. Raises ProgramRefused for unknown or missing ones."""
    known = {field.name: field for field in program.fields}
    for name in given:
        if name not in known:
            raise ProgramRefused(f"{program.name} has no field {name}: its fields are {', '.join(known) or 'none'}.")
    for field in program.fields:
        if field.required and field.name not in given:
            raise ProgramRefused(f"{program.name} requires the field {field.name}: give it as {field.name}=VALUE.")
    return {name: value for name, value in given.items() if known[name].save}


def _guessing_period(settings: ProgramSettings) -> timedelta:
    """How long codes of the program can be guessed: from its start to the expiry of its last code."""
    if settings.valid_until is None:
        return _GUESSING_PERIOD_DEFAULT
    start = settings.valid_from or datetime.now(UTC)
    return max(settings.valid_until - start, timedelta(0)) + (settings.ttl or timedelta(0))
