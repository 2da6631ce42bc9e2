"""The displayed form of a number cell, where the cell's number format fixes it.

A number is not a text: a spreadsheet drops zeros in front, keeps 15 digits, and turns long digits into powers of ten.
Only a format that names every digit gives back what the person saw.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, NamedTuple

CellKind = Literal["text", "number", "whole", "decimal", "formatted", "date", "boolean", "error", "formula"]
"""`text` is certain. `number`: a whole number without a format; `whole`: one in a kind of file that tells no format;
`decimal`: another number without a format; `formatted`: a number whose displayed form is not known; `error`: such as
`#N/A`; `formula`: one whose result the file lacks, as programs save them that do not calculate."""

# A spreadsheet keeps no more digits of a number.
DIGITS_MAX: Final = 15
_RAW_CHARS_MAX: Final = 40
# Zeros for digits, with quoted, escaped or plain literals around them. A plain slash makes a fraction.
_FIXED: Final = re.compile(r'(?:"[^"]*"|\\.|[-:. ]|0)+')
_PART: Final = re.compile(r'"([^"]*)"|\\(.)|(.)')
# Colours and languages change no digit. Conditions choose another section, and currencies are displayed.
_HARMLESS: Final = re.compile(
    r"\[(?:\$-[0-9a-f]+|black|blue|cyan|green|magenta|red|white|yellow|color ?\d+)\]", re.IGNORECASE
)
# Of three sections, the last one is for zero.
_SECTIONS_WITH_ZERO: Final = 3


class ShownCell(NamedTuple):
    """A cell that is not a text, as it is displayed, or as near as can be known."""

    kind: CellKind
    text: str


def shown_number(raw: str, number_format: str | None) -> ShownCell:
    """The displayed form of a number as the file has it (`123`, `6.02E+23`); None is an unknown format."""
    value = _value(raw)
    if value is None:
        return ShownCell("formatted", raw[:_RAW_CHARS_MAX])
    is_general = number_format is None or number_format.lower() == "general"
    if value != value.to_integral_value() or not 0 <= value < 10**DIGITS_MAX:
        is_plain = is_general and number_format is not None and abs(value) < 10**DIGITS_MAX
        return ShownCell("decimal", f"{value.normalize():f}"[:_RAW_CHARS_MAX]) if is_plain else _unknown(raw)
    digits = str(int(value))
    if is_general:
        return ShownCell("whole" if number_format is None else "number", digits)
    section = _section(number_format or "", is_zero=not value)
    if section == "@":
        return ShownCell("text", digits)
    if "0" not in section or not _FIXED.fullmatch(section) or "." in _PART.sub(_only_plain, section):
        return _unknown(raw)
    return ShownCell("text", _filled(section, digits))


def _section(number_format: str, *, is_zero: bool) -> str:
    """The section of a format for a number that is not negative; empty if that is not certain."""
    sections = _HARMLESS.sub("", number_format).split(";")
    has_own = is_zero and len(sections) >= _SECTIONS_WITH_ZERO
    return "" if has_own or any("[" in one for one in sections) else sections[0]


def _value(raw: str) -> Decimal | None:
    try:
        value = Decimal(raw) if len(raw) <= _RAW_CHARS_MAX else None
    except InvalidOperation:
        return None
    return value if value is not None and value.is_finite() and abs(value.adjusted()) < 400 else None


def _unknown(raw: str) -> ShownCell:
    return ShownCell("formatted", raw[:_RAW_CHARS_MAX])


def _only_plain(part: re.Match[str]) -> str:
    return part[3] or ""


def _filled(section: str, digits: str) -> str:
    """Fill the zeros of a format from the right; the first one takes all digits that are left."""
    parts = [(quoted or escaped or plain, plain == "0") for quoted, escaped, plain in _PART.findall(section)]
    left, out = digits, []
    first = next(place for place, (_, is_digit) in enumerate(parts) if is_digit)
    for place in range(len(parts) - 1, -1, -1):
        literal, is_digit = parts[place]
        if not is_digit:
            out.append(literal)
        elif place == first:
            out.append(left or "0")
        else:
            out.append(left[-1:] or "0")
            left = left[:-1]
    return "".join(reversed(out))
