"""An e-mail address to write in a header."""

from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

from schemas import patterns

_ENCODED: Final = "=?"


def _is_plain(given: str) -> str:
    """Mail programs would decode an encoded word, which RFC 2047 forbids in an address, and show another address."""
    if _ENCODED in given:
        raise ValueError("must be an e-mail address such as ops@example.com, without encoded words (=?...?=)")
    return given


EmailAddress = Annotated[
    str, StringConstraints(pattern=patterns.EMAIL_ADDRESS, max_length=254), AfterValidator(_is_plain)
]  # fmt: skip
