"""A program before there is one: whether its short name is free, and what the codes of its template would be."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.amounts import Count, Lifetime
from schemas.moments import EndMoment, StartMoment
from schemas.program import Switch
from schemas.strict_model import StrictModel


class TemplateToPreview(StrictModel):
    """A template, and the settings of its program that its strength depends on, where they are known."""

    template: str
    codes_max: Count | None = None
    valid_from: StartMoment | None = None
    valid_until: EndMoment | None = None
    ttl: Lifetime | None = None
    shared: Switch = False


class TemplateMistake(StrictModel):
    """Why a program cannot have the template. `position`: the character from 1 at which the mistake is, where known."""

    reason: str
    detail: str
    position: int | None


class TemplateStrength(StrictModel):
    """How hard codes are to guess, against the guess rate that the operator assumes (`CODEWELL_GUESSES_PER_S`).

    `weak`: a program with it is refused, unless it sets `allow_guessable`. `public`: all profiles share its only text.
    """

    level: Literal["weak", "good", "strong", "public"]
    sentence: str
    bits_needed: Annotated[float, Field(description="The bits from which on codes are not weak.")]


class TemplateToken(StrictModel):
    """A token that templates may use. `characters`: those that it stands for; empty: they stand in the token."""

    token: str
    meaning: str
    characters: str


class TemplatePreview(StrictModel):
    """What a program's codes would be.

    Without `codes_max` there is no `strength`. `codes_max_safe` is the largest maximum that is not weak. `space`, the
    number of different codes, is a text of digits, as it may be larger than the numbers of most languages; up to
    `codes_possible` of them can be made.
    """

    valid: bool
    error: TemplateMistake | None
    codes: Annotated[list[str], Field(description="Samples, which belong to no program: each preview has others.")]
    length: int | None
    space: str | None
    bits: float | None
    codes_possible: int | None
    codes_max_safe: int | None
    strength: TemplateStrength | None
    check: Annotated[str | None, Field(description="Which typing errors the check character finds, if it has one.")]
    tokens: Annotated[list[TemplateToken], Field(description="All tokens that there are.")]


class NameCheck(StrictModel):
    """Whether a program may get this short name. `detail`: why not; empty if it may."""

    name: str
    free: bool
    detail: str
