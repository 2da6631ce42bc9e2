"""The words of imports: states, and the reasons of bad rows."""

from typing import Final, NamedTuple

from schemas.imports import Reason, State, UploadPreview
from services.console.pages.words import _


class StateWords(NamedTuple):
    """The words of a state, and the kind of its badge."""

    words: str
    kind: str


IMPORT_STATES: Final[dict[State, StateWords]] = {
    "running": StateWords(_("importing"), "busy"),
    "stopped": StateWords(_("stopped"), "warn"),
    "done": StateWords(_("done"), "good"),
    "refused": StateWords(_("refused"), "bad"),
    "undone": StateWords(_("undone"), ""),
}

REASONS: Final[dict[Reason, str]] = {
    "empty": _("no code in the row"),
    "too_long": _("code too long"),
    "unprintable": _("character that can't be printed"),
    "twice_in_file": _("twice in the file"),
    "already_in_program": _("already in the program"),
    "folds_alike": _("folding would take it for another code"),
    "over_maximum": _("over the maximum"),
    "bad_expiry": _("expiry that can't be read, or is over"),
    "bad_profile": _("profile id that is not valid"),
    "profile_has_code": _("profile has a code already"),
    "missing_field": _("required field without a value"),
    "bad_field": _("field that is not valid"),
    "deleted_in_program": _("deleted in the program"),
    "number_cell": _("number whose zeros in front may be lost"),
    "date_cell": _("date in place of a code"),
    "boolean_cell": _("true or false in place of a code"),
    "rounded_number": _("number that was rounded"),
    "placeholder": _("placeholder in place of a code"),
    "formula": _("formula"),
    "head_again": _("head of the columns again"),
    "extra_cells": _("more cells than columns"),
    "encoding_unsure": _("letters that depend on the encoding"),
}


def columns_of(found: UploadPreview) -> list[tuple[str, str]]:
    """The columns to choose from: number and words, with the name in the head or the first cell."""
    table = found.table
    columns = []
    for number in range(1, table.width + 1):
        name = table.names[number - 1] if number <= len(table.names) else ""
        cells = (row[number - 1].strip() for row in table.rows if len(row) >= number)
        sample = next((cell for cell in cells if cell), "")
        said = name or sample
        columns.append((str(number), f"{number} · {said[:40]}" if said else str(number)))
    return columns
