"""Endpoint for receipts: codes of failed sends come back."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends

from codewell.returns.settle import Receipt, Settled
from schemas.receipts import ReturnedCodeFacts, SendReceipt, SendReceipts, SettledReceipt, SettledReceipts
from services.console.context import Context, context
from services.console.http.auth import Writer
from services.console.http.problems import WITH_BODY, documented
from services.console.routes import examples

router = APIRouter(tags=["receipts"])
ConsoleContext = Annotated[Context, Depends(context)]
_RECEIPT: Final = {
    "request_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "profile_id": "p-1001",
    "receipt": "permanent",
}
_SETTLED: Final[dict[str, Any]] = {
    **_RECEIPT,
    "codes": [
        {
            "program": "SPRING",
            "code": "smFg-2497-DMPB",
            "outcome": "quarantined",
            "reason": "after_handoff",
            "due_at": "2026-11-26T10:00:00Z",
        }
    ],
    "reason": None,
}


@router.post(
    "/receipts",
    responses=examples.answer(200, "What became of the codes", {"receipts": [_SETTLED]}) | documented(*WITH_BODY),
)
async def settle_receipts(
    here: ConsoleContext, caller: Writer, given: Annotated[SendReceipts, Body(examples=[{"receipts": [_RECEIPT]}])]
) -> SettledReceipts:
    """Report what became of up to 1,000 messages. A repeated receipt gets the same answer.

    A request that is not decided yet is `unknown_request`: send the receipt again later. So is a request with a program
    that the token may not see.
    """
    receipts = [Receipt(UUID(one.request_id), one.profile_id, one.receipt) for one in given.receipts]
    async with here.pool.acquire() as connection:
        settlement = await here.returns.settle(connection, receipts, groups=caller.groups)
    for (program_id, outcome), number in settlement.outcomes.items():
        if outcome != "kept":
            here.usage.count(program_id, outcome, number=number)
    unknown = Settled([], "unknown_request")
    return SettledReceipts(
        receipts=[
            _answer(one, settlement.settled.get(receipt, unknown))
            for one, receipt in zip(given.receipts, receipts, strict=True)
        ]
    )


def _answer(receipt: SendReceipt, settled: Settled) -> SettledReceipt:
    codes = [ReturnedCodeFacts(**code._asdict()) for code in settled.codes]
    return SettledReceipt(**receipt.model_dump(), codes=codes, reason=settled.reason)
