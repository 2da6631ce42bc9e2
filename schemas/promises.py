"""Checks of the promises as the HTTP API answers them."""

from datetime import datetime
from typing import Literal

from schemas.strict_model import StrictModel


class BrokenRule(StrictModel):
    """A rule that rows of the database break, and how many; `codewell audit` lists them."""

    promise: str
    says: str
    count: int


class PromiseCheck(StrictModel):
    """A check of the promises I1 to I6, I9 and I10 on the live database, in one snapshot.

    `state`: `interrupted` ended with its process; `failed` has `error`.
    """

    state: Literal["running", "clean", "broken", "failed", "interrupted"]
    actor: str
    started_at: datetime
    ended_at: datetime | None
    rules: int
    rules_done: int
    error: str | None
    findings: list[BrokenRule]


class LastPromiseCheck(StrictModel):
    """The last check that somebody asked a console for; null: there was none."""

    check: PromiseCheck | None
