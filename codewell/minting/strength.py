"""Checks that a template has enough codes for its program, and that codes are infeasible to guess.

An attacker that tries R texts a second for T seconds, in a space of S texts of which M are live codes, hits one with a
probability of at most R * T * M / S. A program above 1 % needs the setting `allow_guessable`.
"""

import math
from fractions import Fraction
from typing import Literal, NamedTuple

from codewell.errors import TemplateInvalid
from codewell.minting.minter import mintable_count
from codewell.minting.template import Template
from codewell.plurals import counted

# Accepted odds of a hit are 1 in this many: 1 %.
HIT_ODDS_MIN = 100

# Odds of a hit from 1 in this many on are called strong, and beyond the other one no figure says more.
STRONG_ODDS = 100_000
_NEVER_ODDS = 10**12
_DAY_S = 86_400

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


class Strength(NamedTuple):
    """How hard codes are to guess; `bits_needed` are the bits of a space from which on they are not `weak`."""

    level: Literal["weak", "good", "strong"]
    sentence: str
    bits_needed: float


def judge(template: Template, live_codes: int, seconds: float, guesses_per_s: float) -> Strength:
    """The strength of `live_codes` codes that can be tried for `seconds`. Weak codes fail `check_guessing`."""
    needed = required_space(live_codes, seconds, guesses_per_s)
    hits = Fraction(live_codes) * Fraction(seconds) * Fraction(guesses_per_s) / template.space
    if template.space < needed:
        level: Literal["weak", "good", "strong"] = "weak"
    else:
        level = "strong" if hits * STRONG_ODDS <= 1 else "good"
    sentence = (
        f"{level.capitalize()}: of {counted(live_codes, 'code')}, someone who tries {guesses_per_s:g} per second for "
        f"{seconds / _DAY_S:.4g} days {_finds(hits, live_codes)}."
    )
    return Strength(level, sentence, math.log2(needed) if needed else 0.0)


def _finds(hits: Fraction, live_codes: int) -> str:
    """What an attacker finds with this expected number of hits."""
    if hits >= 2:
        return f"finds about {min(int(hits), live_codes):,}"
    if hits * _NEVER_ODDS < 1:
        return "practically never finds one"
    return f"finds one with odds of 1 in {max(1, round(1 / hits)):,}"


def safe_maximum(template: Template, seconds: float, guesses_per_s: float) -> int:
    """The most codes that the template can make and that are not weak."""
    budget = Fraction(seconds) * Fraction(guesses_per_s) * HIT_ODDS_MIN
    return mintable_count(template) if not budget else min(int(template.space / budget), mintable_count(template))


def check_guessing(template: Template, live_codes: int, seconds: float, guesses_per_s: float) -> None:
    """Raise TemplateInvalid if the probability of guessing one of `live_codes` within `seconds` is above 1 %."""
    needed = required_space(live_codes, seconds, guesses_per_s)
    if template.space < needed:
        raise TemplateInvalid(
            f"The template's codes can be guessed: its space is {_amount(template.space)} and must be "
            f"{_amount(needed)} for {live_codes:,} live codes and {guesses_per_s:g} guesses per second during "
            f"{seconds / _DAY_S:g} days. Add characters, lower the maximum, or set allow_guessable.",
            reason="template_guessable",
        )


def check_space(template: Template, codes_max: int) -> None:
    """Raise TemplateInvalid if the template can't make `codes_max` different codes."""
    numbers = mintable_count(template)
    if numbers < codes_max:
        raise TemplateInvalid(
            f"The template can make {_amount(numbers)} different codes, fewer than the maximum of {codes_max:,}: add "
            f"characters to the template or lower the maximum.",
            reason="template_too_small",
        )


def _amount(space: int) -> str:
    bits = f"{math.log2(space):.1f} bits"
    return f"{space:,} ({bits})" if space <= _COUNT_WRITTEN_OUT_MAX else bits
