"""How often the codes of a program may be used."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from schemas.strict_model import StrictModel

# The limit is that of a column of Postgres.
UseCount = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)]
Refund = Literal["give_back", "keep_used"]


class Uses(StrictModel):
    """How often a code may be used (redeemed): in all, and by one profile. Null: no limit."""

    per_code: UseCount | None = 1
    per_profile: UseCount | None = 1


UsesSetting = Annotated[
    Uses, Field(description="How often a code may be used; by default once, a shared one once by each profile.")
]
HolderOnly = Annotated[bool, Strict(), Field(description="Only a profile that has the code may use it.")]
RefundSetting = Annotated[Refund, Field(description="What becomes of its uses when an order is refunded.")]


def uses_default(*, shared: bool) -> Uses:
    """The uses of a program that sets none: a code is used once, a shared code once by each profile."""
    return Uses(per_code=None if shared else 1)


def with_default_uses(given: object) -> object:
    """The settings of a program as they were written, with the uses that they leave out."""
    if not isinstance(given, dict) or not isinstance(given.get("uses"), dict | None):
        return given
    default = uses_default(shared=given.get("shared") is True).model_dump()
    return {**given, "uses": default | (given.get("uses") or {})}
