"""What the shop asks and is answered: uses and holds of codes, and orders."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from schemas import patterns
from schemas.amounts import refuse_numbers
from schemas.api import CallContext, Code, CodeOnly
from schemas.events import Id, ShortName
from schemas.reports import OrderState
from schemas.strict_model import StrictModel

HOLD_DEFAULT: Final = timedelta(minutes=30)
HOLD_MAX: Final = timedelta(days=1)

OrderId = Annotated[
    str,
    StringConstraints(pattern=patterns.ORDER_ID),
    Field(description="The order's id in the shop.", examples=["o-7"]),
]
HoldTime = Annotated[
    timedelta,
    Field(gt=timedelta(0), le=HOLD_MAX, description="How long the hold lasts, at most a day.", examples=["PT30M"]),
    refuse_numbers("PT30M"),
]


class Activate(CodeOnly):
    """A code, and who uses it for which order. The same order uses a code once: a repeated call changes nothing."""

    profile_id: Id | None = None
    order_id: OrderId | None = None
    context: CallContext | None = None


class Hold(Activate):
    """A code, and the order that holds it for `ttl` or until the code expires. The same order renews its hold."""

    order_id: OrderId
    ttl: HoldTime = HOLD_DEFAULT


class Release(CodeOnly):
    """A code, and the order whose hold ends."""

    order_id: OrderId


class Deactivate(CodeOnly):
    """A code, and the order whose use is taken back.

    Without an order: the last use that named none, or the code's only use.
    """

    order_id: OrderId | None = None


class CodeUse(StrictModel):
    """A use of a code, or an order's hold of it.

    - `state`: `held`, `lapsed` (the time of the hold has passed), `released`, `used`, `taken_back`.
    - `held_until` null: it was used without a hold before. `ended_at`: when it was released or taken back, `ended_by`
      a `call` for the code or an event of the `order`.
    - `profile_id` null: the till named no customer.
    """

    state: Literal["held", "lapsed", "released", "used", "taken_back"]
    order_id: str | None
    profile_id: str | None
    context: str | None
    held_until: datetime | None
    used_at: datetime | None
    ended_at: datetime | None
    ended_by: Literal["call", "order"] | None


class CodeUses(StrictModel):
    """A code with its latest uses and holds, newest first, at most 100. `complete` false: there are older ones."""

    code: Code
    uses: list[CodeUse]
    complete: bool


class OrderCode(CodeUse):
    """A code that an order uses or holds, or did so before."""

    program: ShortName
    code: str


class OrderRefusal(StrictModel):
    """A code that a paid order did not get. `detail` is a sentence for people."""

    program: ShortName
    code: str
    reason: str
    detail: str


class ShopOrder(StrictModel):
    """An order, with its uses and holds of codes, newest first.

    - `state` null: no event of the order has come. `changed_at`: when the last one came.
    - `paid_at`, `cancelled_at`, `refunded_at`: when it was, as the shop said; null also if the shop said not when.
    - `refusals`: codes that a paid order did not get, as their holds had passed. The last event decides.
    """

    order_id: str
    state: OrderState | None
    paid_at: datetime | None
    cancelled_at: datetime | None
    refunded_at: datetime | None
    changed_at: datetime | None
    codes: list[OrderCode]
    refusals: list[OrderRefusal]
