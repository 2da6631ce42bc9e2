"""Checks each row of a file: a candidate, or a bad row with its reason."""

import json
import re
import sys
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from codewell.errors import FileRefused
from codewell.files.code_names import PLACEHOLDERS, is_rounded
from codewell.files.table import SheetCell, Table, refuse_unsure
from codewell.imports.candidates import NO_ATTRIBUTES, BadRow, BlockAttributes, Candidate, CandidateRules, bad_row
from codewell.minting.template import CODE_CHARACTERS_MAX
from schemas import patterns
from schemas.imports import ImportOptions, Reason
from schemas.moments import parse_moment, zone_named

PAIRS_MAX: Final = 1_000
_FIELD_CHARS_MAX: Final = 2_000
_PROFILE: Final = re.compile(patterns.ID)
# How a spreadsheet's CSV keeps a text that looks like a number.
_AS_TEXT: Final = re.compile(r'="((?:[^"]|"")*)"')
_AS_TEXT_ADVICE: Final = "format the column as text in the spreadsheet"
_FORMULA: Final = re.compile(r"=\s*[A-Za-z][\w.]*\(.*")
_OR_NUMBERS: Final = ", or choose with the option plain_numbers (--plain-numbers)"
_CELL_REASONS: Final[dict[str, tuple[Reason, str]]] = {
    "number": ("number_cell", f"a number, which may have lost zeros in front: {_AS_TEXT_ADVICE}{_OR_NUMBERS}"),
    "whole": ("number_cell", f"a number, whose zeros in front are not known: save the file as XLSX{_OR_NUMBERS}"),
    "decimal": ("number_cell", f"a number, not a text: {_AS_TEXT_ADVICE} and write it again"),
    "formatted": ("number_cell", f"a number, whose displayed form is not known: {_AS_TEXT_ADVICE} and write it again"),
    "date": ("date_cell", f"a date or time, not a text: {_AS_TEXT_ADVICE} and write it again"),
    "boolean": ("boolean_cell", f"a truth value, not a text: {_AS_TEXT_ADVICE} and write it again"),
    "error": ("placeholder", "an error in place of a value: correct it"),
    "formula": ("formula", "a formula whose result the file lacks: open the file in a spreadsheet and save it again"),
}  # fmt: skip


class _Bad(NamedTuple):
    """Why a row is bad."""

    reason: Reason
    detail: str = ""


class RowChecker:
    """Checks rows."""

    def __init__(self, table: Table, rules: CandidateRules, options: ImportOptions) -> None:
        self._columns = table.columns
        self._rules = rules
        self._kinds: dict[BlockAttributes, BlockAttributes] = {}
        self._plain_numbers = options.plain_numbers
        self._head = table.columns.names[table.columns.code] if table.columns.names else None
        self._unlike = PLACEHOLDERS | {self._head, ""}
        self._zone = zone_named(table.reading.time_zone)
        # A delimiter too many moves the cells behind it into other columns; the cells of a sheet have their places.
        self._width = table.columns.width if table.reading.kind == "text" else None
        self._unsure = None if table.has_certain_encoding else table.reading.encoding
        used = table.columns
        self._only_codes = used.profile is None and used.expiry is None and not used.fields and self._unsure is None

    def check(self, rows: list[list[str]], after: int, bad: list[BadRow]) -> list[Candidate]:
        """The candidates among these rows, which are behind the first `after`; the others are appended to `bad`."""
        good: list[Candidate] = []
        plain, place = self._only_codes, self._columns.code
        append, unlike = good.append, self._unlike
        width = sys.maxsize if self._width is None else self._width
        for number, row in enumerate(rows, after + 1):
            cell = row[place] if len(row) > place else ""
            text = cell.strip()
            # The most common row by far: a text, and nothing that needs another look.
            if (
                plain and type(cell) is str and 0 < len(text) <= CODE_CHARACTERS_MAX and len(row) <= width
                and text[0] != "=" and "+" not in text and text not in unlike and text.isprintable()
            ):  # fmt: skip
                append(Candidate(number, text, NO_ATTRIBUTES, ""))
                continue
            checked = self._row(row, cell)
            if isinstance(checked, _Bad):
                bad.append(bad_row(number, text, *checked))
            else:
                append(Candidate(number, *checked))
        return good

    def are_usual(self, cells: list[str]) -> bool:
        """Whether each of these cells, alone in its row, is the text of a candidate to `check`, and another one."""
        joined = "".join(cells)
        return (
            self._only_codes and self._columns.code == 0
            and " " not in joined and "=" not in joined and "+" not in joined and joined.isprintable()
            and max(map(len, cells), default=0) <= CODE_CHARACTERS_MAX
            and self._unlike.isdisjoint(cells) and len(set(cells)) == len(cells)
        )  # fmt: skip

    def _row(self, row: list[str], cell: str) -> tuple[str, BlockAttributes, str] | _Bad:
        if self._width is not None and any(map(str.strip, row[self._width :])):
            return _Bad("extra_cells", f"{len(row)} cells instead of {self._width}: quote cells that have a delimiter")
        text = self._text(cell)
        if isinstance(text, _Bad):
            return text
        expires_at = self._expiry(row)
        if isinstance(expires_at, _Bad):
            return expires_at
        profile_id = self._profile(row)
        if isinstance(profile_id, _Bad):
            return profile_id
        fields = self._fields(row)
        if isinstance(fields, _Bad):
            return fields
        return text, self._kind(expires_at, fields), profile_id

    def _text(self, cell: str) -> str | _Bad:
        text = self._certain(cell)
        if isinstance(text, _Bad):
            return text
        return _unreadable(text) or self._no_code(text) or text

    def _no_code(self, text: str) -> _Bad | None:
        """Why this text is no code, though it could be one."""
        if text in PLACEHOLDERS:
            return _Bad("placeholder", f"{text} stands for no value")
        if _FORMULA.match(text):
            return _Bad("formula", "a formula, not its result: save the values alone")
        if text == self._head:
            return _Bad("head_again", "the name of the column, as in the head")
        if is_rounded(text):
            return _Bad(
                "rounded_number", f"a spreadsheet has rounded a long number: {_AS_TEXT_ADVICE} and write it again"
            )
        return None

    def _certain(self, cell: str) -> str | _Bad:
        """The text of a cell that names something, so that each of its characters must be certain."""
        if isinstance(cell, SheetCell) and not self._is_plain(cell):
            reason, detail = _CELL_REASONS[cell.kind]
            return _Bad(reason, f"{cell[:40]} is {detail}")
        if self._unsure is not None and not cell.isascii():
            refuse_unsure(cell, self._unsure)
        text = cell.strip()
        written = _AS_TEXT.fullmatch(text) if text.startswith('="') else None
        return written[1].replace('""', '"').strip() if written else text

    def _is_plain(self, cell: SheetCell) -> bool:
        """Whether the person has decided that its digits are its text."""
        return self._plain_numbers and cell.kind in {"number", "whole"}

    def _expiry(self, row: list[str]) -> datetime | _Bad | None:
        if self._columns.expiry is None:
            return None
        written = _cell(row, self._columns.expiry)
        if isinstance(written, SheetCell) and written.kind in {"error", "formula"}:
            return _Bad("bad_expiry", f"{written[:40]} is {_CELL_REASONS[written.kind][1]}")
        if isinstance(written, SheetCell) and written.kind != "date":
            return _Bad("bad_expiry", f"{written[:40]} is a number or truth value: format the cell as a date")
        try:
            moment = _parsed(written.strip(), self._zone) if written.strip() else None
        except ValueError as error:
            return _Bad("bad_expiry", f"{written.strip()[:40]}: {error}")
        if moment is not None and moment <= self._rules.now:
            return _Bad("bad_expiry", f"{written.strip()[:40]} has passed: give a later one")
        return moment

    def _profile(self, row: list[str]) -> str | _Bad:
        if self._columns.profile is None:
            return _Bad("bad_profile", "no profile id") if self._rules.profile_required else ""
        found = self._certain(_cell(row, self._columns.profile))
        if isinstance(found, _Bad):
            return _Bad("bad_profile", found.detail)
        if not found:
            return _Bad("bad_profile", "no profile id") if self._rules.profile_required else ""
        if found in PLACEHOLDERS:
            return _Bad("bad_profile", f"{found} stands for no value: leave the cell empty")
        if is_rounded(found):
            return _Bad("bad_profile", f"{found} is a number that a spreadsheet has rounded")
        return found if _PROFILE.fullmatch(found) else _Bad("bad_profile", "1 to 256 characters, no control characters")

    def _fields(self, row: list[str]) -> str | _Bad | None:
        """The fields to save, as JSON text. A number or truth value in a field is its displayed form."""
        fields: dict[str, str] = {}
        for name, place in self._columns.fields:
            cell = _cell(row, place)
            if (
                isinstance(cell, SheetCell)
                and cell.kind not in {"number", "decimal", "boolean"}
                and not self._is_plain(cell)
            ):
                return _Bad("bad_field", f"{name}: {cell[:40]} is {_CELL_REASONS[cell.kind][1]}")
            if self._unsure is not None and not cell.isascii():
                refuse_unsure(cell, self._unsure)
            if value := cell.strip():
                fields[name] = value
        missing = sorted(self._rules.required - fields.keys())
        if missing:
            return _Bad("missing_field", ", ".join(missing))
        for name, value in fields.items():
            if len(value) > _FIELD_CHARS_MAX or "\0" in value:
                return _Bad("bad_field", f"{name}: at most {_FIELD_CHARS_MAX:,} characters, none of them NUL")
        saved = {name: value for name, value in fields.items() if name in self._rules.saved}
        return json.dumps(saved) if saved else None

    def _kind(self, expires_at: datetime | None, fields: str | None) -> BlockAttributes:
        if expires_at is None and fields is None:
            return NO_ATTRIBUTES
        kind = BlockAttributes(expires_at, fields)
        if len(self._kinds) >= PAIRS_MAX and kind not in self._kinds:
            raise FileRefused(
                f"The file has more than {PAIRS_MAX:,} different combinations of expiry and custom fields: leave a "
                "column out, or split the file."
            )
        return self._kinds.setdefault(kind, kind)


def _unreadable(text: str) -> _Bad | None:
    """Why no code has this text."""
    if not text:
        return _Bad("empty")
    if len(text) > CODE_CHARACTERS_MAX:
        return _Bad("too_long")
    if not text.isprintable():
        found = next(one for one in text if not one.isprintable())
        return _Bad("unprintable", f"it has the character U+{ord(found):04X}")
    return None


def _cell(row: list[str], place: int) -> str:
    return row[place] if len(row) > place else ""


@lru_cache(maxsize=4_096)
def _parsed(written: str, zone: tzinfo) -> datetime:
    """A date means the end of its day. Raises ValueError."""
    return parse_moment(written, zone, at_end=True)
