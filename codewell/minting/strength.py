"""Whether a template has enough codes for its program, and whether they can be guessed.

Somebody who tries R texts a second while M codes live meets one of them, in T seconds out of a space of S texts, with a
chance of at most R * T * M / S. A program whose chance is above 1 % needs a person's word that this is meant.
"""

import math

from codewell.errors import TemplateInvalid
from codewell.minting.minter import numbers_of
from codewell.minting.template import Template

# The chance of a hit may be one in so many: 1 %.
ONE_HIT_IN = 100

_COUNT_WRITTEN_OUT_MAX = 10**18


def space_needed(live_codes: int, seconds: float, guesses_per_s: float) -> int:
    """How many different codes keep the chance of one hit at 1 %; `seconds` is how long the codes can be tried.

    Raises ValueError for an amount that is negative or has no end: the caller bounds a program that lives for ever.
    """
    hits = guesses_per_s * seconds * live_codes
    if min(live_codes, seconds, guesses_per_s) < 0 or not math.isfinite(hits):
        raise ValueError(
            f"Cannot compute a space for {live_codes} codes, {seconds} s and {guesses_per_s} guesses per second."
        )
    return math.ceil(hits * ONE_HIT_IN)


def check_guessing(template: Template, live_codes: int, seconds: float, guesses_per_s: float) -> None:
    """Raise `TemplateInvalid` where a guess hits one of `live_codes` within `seconds` with a chance above 1 %."""
    needed = space_needed(live_codes, seconds, guesses_per_s)
    if template.space < needed:
        raise TemplateInvalid(
            f"The template's codes can be guessed: its space is {_amount(template.space)} and must be "
            f"{_amount(needed)} for {live_codes:,} live codes and {guesses_per_s:g} guesses per second during "
            f"{seconds / 86_400:g} days. Add characters, lower the maximum, or set allow_guessable."
        )


def check_space(template: Template, codes_max: int) -> None:
    """Raise `TemplateInvalid` where the template can't make `codes_max` different codes."""
    numbers = numbers_of(template)
    if numbers < codes_max:
        raise TemplateInvalid(
            f"The template can make {_amount(numbers)} different codes, fewer than the maximum of {codes_max:,}: add "
            f"characters to the template or lower the maximum."
        )


def _amount(space: int) -> str:
    bits = f"{math.log2(space):.1f} bits"
    return f"{space:,} ({bits})" if space <= _COUNT_WRITTEN_OUT_MAX else bits
