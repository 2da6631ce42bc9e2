"""The page of all parts, which consoles of tests serve at /styleguide."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.program import Stock
from services.console.pages.visit import CurrentVisit

router = APIRouter(include_in_schema=False)
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@router.get("/styleguide")
async def show_styleguide(visit: CurrentVisit) -> Response:
    """Every part, with made-up figures."""
    stock = Stock(
        program="SPRING", made=118_500, imported=0, pooled=93_500, reserved=0, attached=25_000, activated=0, expired=0,
        deleted=0, on_order=0, codes_max=1_000_000, pool_max=100_000,
    )  # fmt: skip
    points = [(_NOON + timedelta(minutes=n), 100_000 - 700 * n - 300 * (n % 7), 700 * n) for n in range(60)]
    return visit.render("styleguide.html", now=_NOON, stock=stock, points=points)
