"""Examples of uses and holds of codes."""

from typing import Final

from services.console.routes.examples import CODE, CODE_ONLY

RELEASE: Final = {**CODE_ONLY, "order_id": "o-7"}
ACTIVATE: Final = {**RELEASE, "profile_id": "p-1001", "context": "till-3"}
HOLD: Final = {**RELEASE, "profile_id": "p-1001", "ttl": "PT30M"}
_USE: Final = {
    "state": "held", "order_id": "o-7", "profile_id": "p-1001", "context": "till-3",
    "held_until": "2026-11-23T10:30:00Z", "used_at": None, "ended_at": None, "ended_by": None,
}  # fmt: skip
CODE_USES: Final = {
    "code": {**CODE, "state": "held", "held_until": "2026-11-23T10:30:00Z"}, "uses": [_USE], "complete": True,
}  # fmt: skip
ORDER: Final = {
    "order_id": "o-7", "state": "paid", "paid_at": "2026-11-23T10:12:00Z", "cancelled_at": None, "refunded_at": None,
    "changed_at": "2026-11-23T10:12:01Z",
    "codes": [
        {**_USE, "state": "used", "used_at": "2026-11-23T10:12:01Z", "program": "SPRING", "code": "smFg-2497-DMPB"},
        {**_USE, "state": "lapsed", "held_until": "2026-11-23T10:05:00Z", "program": "GIFT", "code": "GIFT-7Q2M"},
    ],
    "refusals": [
        {
            "program": "GIFT", "code": "GIFT-7Q2M", "reason": "code_used",
            "detail": "GIFT-7Q2M is activated already: it was used at 2026-11-23 10:07:00 UTC.",
        }
    ],
}  # fmt: skip
