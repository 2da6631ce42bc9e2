"""Endpoint for orders: the codes that one holds and uses, and what the shop said about it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from codewell.errors import OrderUnknown
from codewell.redemption import order_facts
from schemas import patterns
from schemas.till import ShopOrder
from services.console.context import Context, context
from services.console.http.auth import Redeemer
from services.console.http.problems import documented
from services.console.routes import examples, till_examples

router = APIRouter(tags=["codes"])
ConsoleContext = Annotated[Context, Depends(context)]
OrderText = Annotated[str, Path(pattern=patterns.ORDER_ID, description="The order's id in the shop.", examples=["o-7"])]


@router.get(
    "/orders/{order_id:path}",
    responses=examples.answer(200, "The order", till_examples.ORDER) | documented("order_unknown", "lookups_exhausted"),
)
async def show_order(here: ConsoleContext, caller: Redeemer, order_id: OrderText) -> ShopOrder:
    """Show an order's codes in the programs that the token may see, and what came of events about the order.

    Too many look-ups of unknown orders get 429, as those of codes.
    """
    async with here.failed_lookups.look_up(caller.id) as attempt, here.pool.acquire() as connection:
        try:
            return await order_facts.get(connection, order_id, caller.groups)
        except OrderUnknown:
            attempt.fail()
            raise
