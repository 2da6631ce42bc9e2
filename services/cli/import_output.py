"""Prints imports and previews."""

from typing import Any, Final

from codewell.plurals import counted
from services.cli.output import print_facts, print_json, print_table, say

_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", None: "none (whole lines)"}


def print_import(found: Any, as_json: bool) -> None:
    """The counts of an import, and how its file was read."""
    if as_json:
        print_json(found)
        return
    facts = {name: getattr(found, name) for name in ("id", "state", "rows", "imported", "attached", "taken_back")}
    facts["id"] = str(found.id)
    bad = {f"  {reason.replace('_', ' ')}": count for reason, count in found.bad.items()}
    cases = {"differ in case only": found.case_variants} if found.case_variants else {}
    print_facts(facts | {"bad rows": sum(found.bad.values())} | bad | cases | _reading_facts(found.reading))


def _reading_facts(reading: Any) -> dict[str, object]:
    """How the file was read, for a person."""
    if reading is None:
        return {}
    facts: dict[str, object] = {"codes from": _column(reading.column)}
    for name in ("profile", "expiry"):
        column = getattr(reading, f"{name}_column")
        if column is not None:
            facts[f"{name} from"] = _column(column)
    facts |= {f"field {name} from": _column(column) for name, column in reading.field_columns.items()}
    facts["head"] = "none" if reading.header_row is None else f"row {reading.header_row}"
    facts["rows skipped"] = reading.skipped_rows
    if reading.kind == "text":
        facts["delimiter"] = _DELIMITERS.get(reading.delimiter, reading.delimiter)
        facts["encoding"] = reading.encoding
    else:
        facts["sheet"] = reading.sheet
    if reading.hidden_sheets:
        facts["hidden sheets skipped"] = ", ".join(reading.hidden_sheets)
    if reading.expiry_column is not None:
        facts["time zone"] = reading.time_zone
    return facts


def _column(column: Any) -> str:
    return f"column {column.number}" if column.name is None else f"column {column.number}, {column.name}"


def print_preview(found: Any, as_json: bool) -> None:
    """How a file would be read, its columns, and what its first rows would become."""
    if as_json:
        print_json(found)
        return
    print_facts(_reading_facts(found.reading))
    say()
    columns = [
        {"column": str(one.number), "name": one.name, "first cells": ", ".join(cell[:30] for cell in one.samples)}
        for one in found.columns
    ]
    print_table(columns, "")
    say(f"\n{counted(found.good, 'code')} in the first {counted(found.checked_rows, 'row')}, such as:")
    print_table([_preview_row(one) for one in found.codes], "none")
    if found.case_variants:
        say(f"\n{counted(found.case_variants, 'code')} differ from an earlier one only in case.")
    if found.bad_rows:
        say(f"\n{counted(sum(found.bad.values()), 'bad row')}, such as:")
        print_table([one.model_dump() for one in found.bad_rows], "")


def _preview_row(one: Any) -> dict[str, object]:
    return {
        "row": one.row, "code": one.code, "profile": one.profile_id, "expires": one.expires_at, "fields": one.fields,
    }  # fmt: skip
