"""The demo's checks of its answers. Each has a sentence, whether it passed, and the observed value."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from codewell.client.exchange import ReceivedAnswer
from codewell.minting.template import Template
from schemas.program import Stock


class DemoCheck(NamedTuple):
    """One line of the demo's result."""

    says: str
    held: bool
    seen: str


def check(
    asked: Sequence[UUID], answers: Sequence[ReceivedAnswer], template: Template, stock: Stock
) -> list[DemoCheck]:
    """Compare the requests, their answers, and the program's stock in the database."""
    wanted = {str(request_id) for request_id in asked}
    answered = Counter(answer.data["request_id"] for answer in answers)
    refused = [answer for answer in answers if answer.data["outcome"] != "attached"]
    codes = [code["code"] for answer in answers for code in answer.data.get("codes", ())]
    unfit = [code for code in codes if not template.fits(code)]
    twice = sum(count > 1 for count in answered.values())
    parts = (stock.pooled, stock.attached, stock.expired, stock.deleted)
    return [
        DemoCheck("every request was answered", wanted == answered.keys(), f"{len(answered):,} of {len(wanted):,}"),
        DemoCheck("each was answered once", twice == 0, f"{twice:,} were answered again"),
        DemoCheck("each got a code", not refused, f"{len(refused):,} were refused"),
        DemoCheck(
            "all codes differ", len(set(codes)) == len(codes), f"{len(set(codes)):,} different of {len(codes):,}"
        ),
        DemoCheck("all codes fit the template", not unfit, f"{len(unfit):,} do not fit {template.text}"),
        DemoCheck(
            "stock is conserved",
            stock.made + stock.imported == sum(parts) and stock.attached == len(codes),
            f"{stock.made + stock.imported:,} made = {stock.pooled:,} pooled + {stock.attached:,} attached "
            f"+ {stock.expired:,} expired + {stock.deleted:,} deleted",
        ),
    ]
