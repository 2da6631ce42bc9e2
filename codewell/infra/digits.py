"""Reads whole numbers that others wrote, such as headers of records."""

from typing import Final

# Fits into 64 bits. Python refuses to convert some thousand digits.
DIGITS_MAX: Final = 18


def whole_number(text: bytes | str | None, digits_max: int = DIGITS_MAX) -> int | None:
    """The number that the text is, in ASCII digits only; None for any other text, and for more digits."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > digits_max:
        return None
    return int(text)
