"""Example bodies and responses of reservations for the OpenAPI document."""

from typing import Final

REQUEST: Final = {
    "campaign_id": "spring-2027",
    "count": 100_000,
    "until": "2098-12-01T00:00:00Z",
    "send_at": "2098-11-24T08:00:00Z",
    "partial": False,
    "overflow": "pool",
}
CHANGES: Final = {"count": 120_000}
_PARTS: Final = {"pooled": 0, "minted": 100_000, "on_order": 0, "expiring_before_send": 0}
RESERVATION: Final = {
    "id": 17,
    "program": "SPRING",
    "campaign_id": "spring-2027",
    "scenario_id": None,
    "count": 100_000,
    "reserved": 100_000,
    "shortfall": 0,
    "used": 0,
    "left": 100_000,
    "on_order": 0,
    "until": "2098-12-01T00:00:00Z",
    "send_at": "2098-11-24T08:00:00Z",
    "partial": False,
    "overflow": "pool",
    "state": "ready",
    "created_at": "2098-11-23T10:00:00Z",
    "ended_at": None,
    "ended_by": None,
}
ANSWER: Final = {**RESERVATION, "parts": _PARTS, "limit": None}
RELEASED: Final = {
    **RESERVATION, "used": 40_000, "left": 0, "state": "released", "ended_at": "2098-11-25T10:00:00Z",
    "ended_by": "release",
}  # fmt: skip
PAGE: Final = {"items": [RESERVATION], "next_cursor": None}
FIGURES: Final = {
    "count": 1_000_000,
    "reserved": 900_000,
    "shortfall": 100_000,
    "parts": {"pooled": 75_100, "minted": 824_900, "on_order": 0, "expiring_before_send": 0},
    "limit": "maximum",
}
AVAILABILITY: Final = {"program": "SPRING", **FIGURES}
