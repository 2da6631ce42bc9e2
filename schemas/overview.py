"""Programs as a list of them shows each: its settings, and how it is now."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.events import ShortName
from schemas.program import Program
from schemas.strict_model import StrictModel

ListedState = Literal["active", "off", "not started", "ended"]
ProgramState = Literal[ListedState, "removed"]
Circuit = Literal["closed", "open", "half open"]


class ProgramOverview(StrictModel):
    """A program as it is now: its state, and its codes by the counters of its pool.

    `reserved`: pooled codes that are set aside for campaigns or scenarios; they are a part of `pooled`.
    `on_order` and `circuit` are those of its remote service; `circuit` null: it has none. `alerts`: how many are open.
    """

    program: Program
    state: Annotated[ProgramState, Field(description="Ended and not started: now is outside its validity period.")]
    pooled: int
    reserved: int
    made: int
    imported: int
    on_order: int
    circuit: Circuit | None
    alerts: int


class StockLevel(StrictModel):
    """How many codes stood ready at a moment."""

    at: datetime
    pooled: int


class ExpectedLevel(StrictModel):
    """How many codes are expected to stand ready: with the usual demand, and with a high one."""

    at: datetime
    usual: int
    high: int


class StockLevels(StrictModel):
    """The levels of a program's pool, oldest first; they are written every ten minutes.

    `expected`: those of the next 24 hours.
    """

    program: ShortName
    levels: list[StockLevel]
    expected: list[ExpectedLevel]


class ProgramStock(ProgramOverview):
    """A program as it is now, with its codes by state: made + imported = pooled + attached + expired + deleted."""

    attached: int
    expired: int
    deleted: int
