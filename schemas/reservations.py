"""Reservations: codes of a program set aside for one campaign or scenario, as the HTTP API takes and answers."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.amounts import CODES_MAX_LIMIT, Count
from schemas.events import Id, ShortName
from schemas.moments import EndMoment, StartMoment
from schemas.program import Switch
from schemas.strict_model import StrictModel

Overflow = Literal["pool", "refuse"]
Limit = Literal["maximum", "stock", "remote", "validity"]
ReservationState = Literal["pending", "ready", "nearly_used", "used_up", "released"]
EndedBy = Literal["release", "until", "program_ended", "program_removed"]


class ReservationRequest(StrictModel):
    """What to set aside, and for which campaign or scenario: give one of both.

    `until`: when the rest goes back to the pool. `send_at`: codes that expire before it don't count. With `partial`,
    fewer codes than `count` are set aside too; otherwise they are refused. `overflow`: once the reservation is used up,
    the campaign gets codes of the pool, or is refused.
    """

    campaign_id: Id | None = None
    scenario_id: Id | None = None
    count: Count
    until: EndMoment
    send_at: StartMoment | None = None
    partial: Switch = False
    overflow: Overflow = "pool"

    @model_validator(mode="after")
    def _is_for_one(self) -> Self:
        if (self.campaign_id is None) == (self.scenario_id is None):
            raise ValueError("give campaign_id or scenario_id, one of both")
        return self


class ReservationChanges(StrictModel):
    """Changes of a reservation; what is left out stays. A lower `count` gives codes back to the pool."""

    count: Count | None = None
    until: EndMoment | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.count is None and self.until is None:
            raise ValueError("give count, until or both")
        return self


class ReservationParts(StrictModel):
    """Where reserved codes come from. Those that expire before `send_at` are in the pool and don't count."""

    pooled: int
    minted: int
    on_order: int
    expiring_before_send: int


class ReservationFigures(StrictModel):
    """How many codes can be set aside: reserved + shortfall = count, and pooled + minted + on_order = reserved.

    `limit`: what is short. `maximum`: the program's maximum; `stock`: codes of a list, or texts of a template;
    `remote`: the size of an order to the remote service; `validity`: the codes would expire before `send_at`.
    """

    count: Annotated[int, Field(ge=1, le=CODES_MAX_LIMIT)]
    reserved: int
    shortfall: int
    parts: ReservationParts
    limit: Limit | None


class Availability(ReservationFigures):
    """What a reservation made now would set aside; nothing is reserved."""

    program: ShortName


class Reservation(StrictModel):
    """A reservation as it is now. `reserved` codes were set aside or are on order; `left` of them can be given.

    `used`: codes that its campaign or scenario got from it. `shortfall`: count - reserved.
    """

    id: int
    program: ShortName
    campaign_id: str | None
    scenario_id: str | None
    count: int
    reserved: int
    shortfall: int
    used: int
    left: int
    on_order: int
    until: datetime
    send_at: datetime | None
    partial: bool
    overflow: Overflow
    state: ReservationState
    created_at: datetime
    ended_at: datetime | None
    ended_by: EndedBy | None


class ReservationAnswer(Reservation):
    """A reservation that was made or changed, and where the codes of that step came from."""

    parts: ReservationParts
    limit: Limit | None
