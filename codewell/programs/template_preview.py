"""Previews a template before a program has it: samples that belong to no pool, its space, and its strength."""

import math
import secrets
from typing import Final

from codewell.errors import TemplateInvalid
from codewell.minting.minter import MINTER_KEY_BYTES, Minter, mintable_count
from codewell.minting.strength import check_space, judge, safe_maximum
from codewell.minting.template import TOKEN_KINDS, Template
from codewell.programs.settings_rules import check_ends, guessing_period_s, is_public
from schemas.templates import TemplateMistake, TemplatePreview, TemplateStrength, TemplateToken, TemplateToPreview

SAMPLES: Final = 5
_TOKENS: Final = [
    TemplateToken(token=kind.example, meaning=kind.meaning, characters=kind.characters) for kind in TOKEN_KINDS
]
_PUBLIC: Final = "All profiles share this one text, so it is there to be known."
_NONE: Final = TemplatePreview(
    valid=False, error=None, codes=[], length=None, space=None, bits=None, codes_possible=None, codes_max_safe=None,
    strength=None, check=None, tokens=_TOKENS,
)  # fmt: skip


def preview(wanted: TemplateToPreview, guesses_per_s: float) -> TemplatePreview:
    """What the codes of a template would be; `guesses_per_s` is the assumed rate of an attacker.

    The samples are minted with a key that is dropped, so they tell nothing about the order of any pool.
    """
    try:
        template = Template.parse(wanted.template)
    except TemplateInvalid as error:
        return _NONE.model_copy(update={"error": _mistake(error)})
    mistake = _mistake_of(template, wanted.codes_max)
    period_s = guessing_period_s(wanted.valid_from, wanted.valid_until, wanted.ttl)
    return TemplatePreview(
        valid=mistake is None,
        error=mistake,
        codes=_samples(template),
        length=template.length,
        space=str(template.space),
        bits=round(math.log2(template.space), 1),
        codes_possible=mintable_count(template),
        codes_max_safe=safe_maximum(template, period_s, guesses_per_s),
        strength=_strength(template, wanted, period_s, guesses_per_s),
        check=None if template.check is None else template.check.sentence,
        tokens=_TOKENS,
    )


def _mistake_of(template: Template, codes_max: int | None) -> TemplateMistake | None:
    try:
        check_ends(template)
        if codes_max is not None:
            check_space(template, codes_max)
    except TemplateInvalid as error:
        return _mistake(error)
    return None


def _mistake(error: TemplateInvalid) -> TemplateMistake:
    return TemplateMistake(reason=error.reason, detail=str(error), position=error.position)


def _samples(template: Template) -> list[str]:
    return Minter(template, secrets.token_bytes(MINTER_KEY_BYTES)).mint(0, min(SAMPLES, mintable_count(template)))


def _strength(
    template: Template, wanted: TemplateToPreview, period_s: float, guesses_per_s: float
) -> TemplateStrength | None:
    if wanted.codes_max is None:
        return None
    if is_public(template, shared=wanted.shared):
        return TemplateStrength(level="public", sentence=_PUBLIC, bits_needed=0.0)
    found = judge(template, wanted.codes_max, period_s, guesses_per_s)
    return TemplateStrength(level=found.level, sentence=found.sentence, bits_needed=round(found.bits_needed, 1))
