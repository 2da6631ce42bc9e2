"""Masks codes and profile ids on pages, for all screens.

Every session sees `smFg-••••-••••` until it presses *Show*, which needs one of SHOW_SCOPES and is recorded in the audit
log. So a session with `read` alone never sees a text that somebody could redeem, and each look at one is on record.

A screen makes one `Masking` for each answer and passes it to its template:

- `GET`: `Masking(caller)`, and a form that posts *Show* where `masking.may_show`;
- `POST .../show`: `Masking.shown(...)`, which records it, then the same page with status 200.
"""

from collections.abc import Iterable
from math import prod
from typing import Final

from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from schemas.token import Scope
from services.console.http.problems import HttpProblem

SHOW_SCOPES: Final[tuple[Scope, ...]] = ("write", "redeem", "support", "admin")
_BULLET: Final = "•"
# What stands between the parts of a code.
_SEPARATORS: Final = frozenset("-_./ ")
_SHOWN_MAX: Final = 4
# Guesses of what a mask hides: half of them are more than a year's at 60 a minute, the default of
# CODEWELL_MISSES_PER_MINUTE.
HIDDEN_MIN: Final = 2 * 60 * 60 * 24 * 366
# What a hidden character may have been. The smallest usual alphabet of letters has twenty.
_DIGITS: Final = 10
_LETTERS: Final = 20
_PROFILE_SHOWN: Final = 2
_PROFILE_HIDDEN_MIN: Final = 4
_PROFILE_MASK: Final = _BULLET * 4


class Masking:
    """How one page shows codes and profile ids to one caller."""

    def __init__(self, caller: Token, *, is_shown: bool = False) -> None:
        self.may_show = caller.may(*SHOW_SCOPES)
        """Whether the caller may press *Show*."""
        self.is_shown = is_shown and self.may_show

    @classmethod
    async def shown(
        cls, connection: Connection, caller: Token, program: str | None = None, **details: object
    ) -> "Masking":
        """Record that the caller looks at texts, as `code.show`, and show them. `details` name no code or profile.

        Raises HttpProblem (403) without one of SHOW_SCOPES.
        """
        if not caller.may(*SHOW_SCOPES):
            scopes = ", ".join(SHOW_SCOPES[:-1])
            sentence = f"Show needs a token with the scope {scopes} or {SHOW_SCOPES[-1]}."
            raise HttpProblem("scope_missing", sentence)
        await audit_log.record(connection, caller.actor, "code.show", program, **details)
        return cls(caller, is_shown=True)

    def code(self, text: str) -> str:
        """The code's text, or its mask."""
        return text if self.is_shown else masked_code(text)

    def profile(self, profile_id: str | None) -> str:
        """The profile id, or its mask; "" for None."""
        if profile_id is None:
            return ""
        return profile_id if self.is_shown else masked_profile(profile_id)


def masked_code(text: str) -> str:
    """The code with its first characters alone: up to four, and up to a third of it.

    Fewer or none are left where the rest would be guessed within a year (HIDDEN_MIN). Dashes and the like stay.
    """
    places = [n for n, one in enumerate(text) if one not in _SEPARATORS]
    shown = min(_SHOWN_MAX, len(places) // 3)
    while shown and guesses_of(text[n] for n in places[shown:]) < HIDDEN_MIN:
        shown -= 1
    hidden = set(places[shown:])
    return "".join(_BULLET if n in hidden else one for n, one in enumerate(text))


def guesses_of(hidden: Iterable[str]) -> int:
    """How many texts these hidden characters may be, at least."""
    return prod(_LETTERS if one.isalpha() else _DIGITS for one in hidden)


def masked_profile(profile_id: str) -> str:
    """The first characters of the id and a mask of a fixed length."""
    kept = _PROFILE_SHOWN if len(profile_id) >= _PROFILE_SHOWN + _PROFILE_HIDDEN_MIN else 0
    return profile_id[:kept] + _PROFILE_MASK
