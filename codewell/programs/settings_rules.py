"""Validates a program's settings, their changes, and its custom fields."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from codewell.errors import ProgramRefused, TemplateInvalid
from codewell.files.csv_writer import begins_formula
from codewell.minting.folding import Folding
from codewell.minting.strength import check_guessing, check_space
from codewell.minting.template import Template
from codewell.plurals import counted
from schemas.program import Program, ProgramSettings

# For a program without an end, the period in which codes can be guessed.
_GUESSING_PERIOD_DEFAULT: Final = timedelta(days=365)


def check_settings(settings: ProgramSettings, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if a new program's template is malformed, too small or guessable, or can't be folded."""
    if settings.source.kind == "template":
        template = Template.parse(settings.source.template)
        check_space(template, settings.codes_max)
        check_guessable(template, settings, guesses_per_s)
        check_ends(template)
        if settings.match == "fold":
            Folding.of(template)


def check_change(present: ProgramSettings, settings: ProgramSettings, row: asyncpg.Record) -> None:
    """Raise ProgramRefused if the settings can't change to these; `row` has the program's counters."""
    if settings.name != present.name:
        raise ProgramRefused(
            f"The short name of {present.name} cannot change: clone the program under the new name.",
            reason="setting_fixed",
            setting="name",
        )
    if settings.source.kind != present.source.kind:
        raise ProgramRefused(
            f"The kind of source of {present.name} cannot change: create a new program.",
            reason="setting_fixed",
            setting="source.kind",
        )
    if present.shared and not settings.shared and row["given"]:
        raise ProgramRefused(
            f"{present.name} has attached its shared code: clone the program to give each profile its own.",
            reason="setting_fixed",
            setting="shared",
        )
    had = row["made"] + row["imported"]
    if settings.codes_max < had:
        raise ProgramRefused(
            f"{present.name} has had {counted(had, 'code')}: set its maximum to at least that number.",
            reason="maximum_too_low",
            setting="codes_max",
        )
    if settings.codes_max < had + row["on_order"]:
        raise ProgramRefused(
            f"{present.name} has had {counted(had, 'code')}, and {row['on_order']:,} on order: set its maximum to at "
            "least their sum.",
            reason="maximum_too_low",
            setting="codes_max",
        )


def check_guessable(template: Template, settings: ProgramSettings, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if codes could be guessed and `allow_guessable` is not set."""
    if not settings.allow_guessable and not is_public(template, shared=settings.shared):
        period_s = guessing_period_s(settings.valid_from, settings.valid_until, settings.ttl)
        check_guessing(template, settings.codes_max, period_s, guesses_per_s)


def is_public(template: Template, *, shared: bool) -> bool:
    """Whether the template's only text is there to be known, as all profiles share it."""
    return shared and template.space == 1


def check_ends(template: Template) -> None:
    """Raise TemplateInvalid for codes that cannot be typed or pasted as they are.

    Spaces at the ends are lost, and a spreadsheet runs some codes as formulas; pasted ones bypass the export's escape.
    """
    ends = (("start", template.cells[0], 1), ("end", template.cells[-1], len(template.text)))
    for name, cell, position in ends:
        if any(map(str.isspace, cell)):
            error = TemplateInvalid(
                f"Codes would {name} with a space, which is lost when they are typed or pasted: remove it from the "
                f"{name} of the template."
            )
            error.position = position
            raise error
    if begins_formula(template.text):
        begin = template.text.lstrip()[:1]
        error = TemplateInvalid(
            f"Spreadsheets run codes that begin with {begin} as formulas: begin with another character, or write "
            f"{{[{begin}] 1}} to use it anyway."
        )
        error.position = 1
        raise error


def saved_fields(program: Program, given: Mapping[str, str]) -> dict[str, str]:
    """The given custom fields that are saved on codes. Raises ProgramRefused for unknown or missing ones."""
    known = {field.name: field for field in program.fields}
    for name in given:
        if name not in known:
            raise ProgramRefused(
                f"{program.name} has no field {name}: its fields are {', '.join(known) or 'none'}.",
                reason="field_unknown",
            )
    for field in program.fields:
        if field.required and field.name not in given:
            raise ProgramRefused(
                f"{program.name} requires the field {field.name}: give it as {field.name}=VALUE.",
                reason="field_required",
            )
    return {name: value for name, value in given.items() if known[name].save}


def guessing_period_s(valid_from: datetime | None, valid_until: datetime | None, ttl: timedelta | None) -> float:
    """How long codes of a program can be guessed (s): from its start to the expiry of its last code."""
    if valid_until is None:
        return _GUESSING_PERIOD_DEFAULT.total_seconds()
    start = valid_from or datetime.now(UTC)
    return (max(valid_until - start, timedelta(0)) + (ttl or timedelta(0))).total_seconds()
