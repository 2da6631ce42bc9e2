"""Stock of campaigns and scenarios that have reservations. Pure."""

from typing import NamedTuple

from codewell.issuing.model import (
    LockedStock,
    ManualRequest,
    PooledCodeFields,
    RequestEvent,
)
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import PlainRender, PlainStep


class Scope(NamedTuple):
    """The campaign or scenario of a request."""

    source: str
    """`campaign` or `scenario`."""
    id: str

    def __str__(self) -> str:
        """As people read it, such as `campaign spring`."""
        return f"{self.source} {self.id}"


def scope_of(event: RequestEvent) -> Scope | None:
    """For whom codes may be reserved of which the event asks for one; None for a manual request."""
    match event:
        case MessageRender() | PlainRender():
            return Scope("campaign", event.campaign_id)
        case ScenarioStep() | PlainStep():
            return Scope("scenario", event.scenario_id)
        case ManualRequest():
            return None


class ReservationOfStock(NamedTuple):
    """What a claim knows of a reservation."""

    id: int
    refuses: bool
    """Whether its campaign is refused once it is used up."""
    on_order: int
    """Codes ordered for it from the remote service that have not arrived."""


class ReservedStock:
    """The codes that one campaign may get of one program: its reservation's first, then those of the common stock."""

    def __init__(
        self, own: LockedStock, common: LockedStock | None, reservation: ReservationOfStock, wanted: int
    ) -> None:
        """`common` is None where the campaign is refused once the reservation is used up.

        `wanted`: how many codes the batch may take for the campaign.
        """
        self.own = own
        self.fastest: Stock = own if own.left >= wanted else self
        """The same codes for this batch: `own` alone where it has enough, as a plain stock costs each request less."""
        self._common = common
        self.reservation = reservation

    @property
    def left(self) -> int:
        """How many codes can be taken now. Those of own blocks that other workers have locked come before the pool."""
        if self.own.elsewhere or self._common is None:
            return self.own.left
        return self.own.left + self._common.left

    @property
    def elsewhere(self) -> int:
        """Codes in blocks that other workers have locked."""
        if self.own.elsewhere or self._common is None:
            return self.own.elsewhere
        return self._common.elsewhere

    def take(self) -> PooledCodeFields:
        """Remove and return the next code, as `LockedStock.take`."""
        if self.own.left or self._common is None:
            return self.own.take()
        return self._common.take()


Stock = LockedStock | ReservedStock


def used_up(stock: Stock) -> int | None:
    """The reservation that alone serves the campaign of this stock; None if other codes do too, or more will come."""
    if isinstance(stock, ReservedStock) and stock.reservation.refuses and stock.reservation.on_order == 0:
        return stock.reservation.id
    return None
