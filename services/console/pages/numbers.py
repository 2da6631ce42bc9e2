"""Whole numbers that people type, with or without separators of thousands."""

import re
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{1,18}")
# A comma, an apostrophe, and the spaces that people and spreadsheets put between thousands.
_SEPARATORS: Final = re.compile("(?<=[0-9])[,.'\u2019_ \u00a0\u202f](?=[0-9]{3}(?![0-9]))")


def whole_number(text: str) -> int | None:
    """The number that was typed; None when it is none."""
    plain = _SEPARATORS.sub("", text.strip())
    return int(plain) if _NUMBER.fullmatch(plain) else None
