"""How many codes a reservation gets, from where, and what limits it. Pure."""

from typing import Final, NamedTuple

from schemas.reservations import Limit, ReservationFigures, ReservationParts, ReservationState

NEARLY_USED_SHARE: Final = 0.8


class Supply(NamedTuple):
    """What a program has and may get: all in codes that live long enough, except `expiring`."""

    kind: str
    """Where its codes come from: `template`, `remote` or `import`."""
    pooled: int
    expiring: int
    """Pooled codes that expire too soon."""
    room: int
    """How many more the maximum allows."""
    source_max: int
    """How many the template has left, or the largest order to the remote service; 0 for imports."""
    new_live: bool
    """Whether codes that are made now live long enough."""


def plan(supply: Supply, count: int) -> ReservationFigures:
    """The figures of a reservation of `count` codes.

    Codes of a template are made for it, and taken from the pool once no more can be made: the pool stays as it is for
    all others. Other programs give what is in the pool, and order the rest.
    """
    new_max = min(supply.room, supply.source_max) if supply.new_live else 0
    if supply.kind == "template":
        minted = min(count, max(0, new_max))
        pooled = min(count - minted, supply.pooled)
        on_order = 0
    else:
        minted = 0
        pooled = min(count, supply.pooled)
        on_order = min(count - pooled, max(0, new_max))
    parts = ReservationParts(pooled=pooled, minted=minted, on_order=on_order, expiring_before_send=supply.expiring)
    return figures(supply, count, parts)


def figures(supply: Supply, count: int, parts: ReservationParts) -> ReservationFigures:
    """The figures of a reservation of `count` codes that has these parts."""
    reserved = parts.pooled + parts.minted + parts.on_order
    shortfall = count - reserved
    limit = _limit(supply, shortfall) if shortfall else None
    return ReservationFigures(count=count, reserved=reserved, shortfall=shortfall, parts=parts, limit=limit)


def _limit(supply: Supply, shortfall: int) -> Limit:
    if not supply.new_live and supply.kind != "import":
        return "validity"
    if supply.expiring >= shortfall:
        return "validity"
    if supply.kind == "import":
        return "stock"
    if supply.room <= supply.source_max:
        return "maximum"
    return "remote" if supply.kind == "remote" else "stock"


def state_of(reserved: int, used: int, left: int, on_order: int, *, is_ended: bool) -> ReservationState:
    """The state of a reservation with these numbers of codes."""
    if is_ended:
        return "released"
    if left == 0 and on_order == 0:
        return "used_up"
    if used >= reserved * NEARLY_USED_SHARE:
        return "nearly_used"
    return "pending" if on_order else "ready"
