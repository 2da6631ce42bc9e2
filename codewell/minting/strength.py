"""Checks that a template has enough codes for its program, and that codes are infeasible to guess.

An attacker that tries R texts a second for T seconds, in a space of S texts of which M are live codes, hits one with a
probability of at most R * T * M / S. A program above 1 % needs the setting `allow_guessable`.
"""

import math

from codewell.errors import TemplateInvalid
from codewell.minting.minter import mintable_count
from codewell.minting.template import Template

# Accepted odds of a hit are 1 in this many: 1 %.
HIT_ODDS_MIN = 100

_COUNT_WRITTEN_OUT_MAX = 10**18


def required_space(live_codes: int, seconds: float, guesses_per_s: float) -> int:
    """The size of the space that keeps the probability of one hit at 1 %; codes can be tried for `seconds`.

    Raises ValueError for a negative or infinite amount: the caller bounds the period of a program without an end.
    """
    hits = guesses_per_s * seconds * live_codes
    if min(live_codes, seconds, guesses_per_s) < 0 or not math.isfinite(hits):
        raise ValueError(
            f"Cannot compute a space for {live_codes} codes, {seconds} s and {guesses_per_s} guesses per second."
        )
    return math.ceil(hits * HIT_ODDS_MIN)


def check_guessing(template: Template, live_codes: int, seconds: float, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if the probability of guessing one of `live_codes` within `seconds` is above 1 %."""
    needed = required_space(live_codes, seconds, guesses_per_s)
    if template.space < needed:
        raise TemplateInvalid(
            f"The template's codes can be guessed: its space is {_amount(template.space)} and must be "
            f"{_amount(needed)} for {live_codes:,} live codes and {guesses_per_s:g} guesses per second during "
            f"{seconds / 86_400:g} days. Add characters, lower the maximum, or set allow_guessable."
        )


def check_space(template: Template, codes_max: int) -> None:
    """Raise TemplateInvalid if the template can't make `codes_max` different codes."""
    numbers = mintable_count(template)
    if numbers < codes_max:
        raise TemplateInvalid(
            f"The template can make {_amount(numbers)} different codes, fewer than the maximum of {codes_max:,}: add "
            f"characters to the template or lower the maximum."
        )


def _amount(space: int) -> str:
    bits = f"{math.log2(space):.1f} bits"
    return f"{space:,} ({bits})" if space <= _COUNT_WRITTEN_OUT_MAX else bits
