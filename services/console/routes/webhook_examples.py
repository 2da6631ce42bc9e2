"""Example bodies and responses of webhooks for the OpenAPI document."""

from typing import Final

NEW: Final = {
    "kind": "webhook",
    "target": "https://shop.example.com/hooks",
    "description": "On-call of the shop",
    "types": ["alert-raised", "alert-cleared"],
    "groups": ["marketing"],
}
WEBHOOK: Final = {
    "id": 3,
    **NEW,
    "active": True,
    "inactive_reason": None,
    "failures": 0,
    "rest_until": None,
    "waiting": 0,
    "delivered_at": "2098-11-24T08:00:00Z",
    "created_at": "2098-11-23T10:00:00Z",
}
_SECRET: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # noqa: S105  an example
CREATED: Final = {**WEBHOOK, "delivered_at": None, "secret": _SECRET}
PAGE: Final = {"items": [WEBHOOK], "next_cursor": None}
CHANGE: Final = {"types": ["alert-raised"], "active": True}
REMOVED: Final = {**WEBHOOK, "active": False, "inactive_reason": "person"}
ROTATED: Final = {"secret": _SECRET, "previous_end_at": "2098-11-25T10:00:00Z"}
TEST: Final = {
    "accepted": True, "status": 200, "detail": "The receiver took the message.", "answer": "ok", "took_s": 0.041,
}  # fmt: skip
DELIVERY: Final = {
    "id": 812,
    "event_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "type": "dev.codewell.alert-raised.v1",
    "program": "SPRING",
    "occurred_at": "2098-11-24T08:00:00Z",
    "state": "waiting",
    "attempts": 1,
    "next_attempt_at": "2098-11-24T08:05:00Z",
    "ended_at": None,
    "status": 503,
    "error": "The receiver answered 503 instead of 2xx.",
}
DELIVERIES: Final = {"items": [DELIVERY], "next_cursor": None}
DETAILS: Final = {
    **DELIVERY,
    "body": {
        "type": "dev.codewell.alert-raised.v1",
        "timestamp": "2098-11-24T08:00:00Z",
        "data": {"program": "SPRING", "rule": "returns-stopped", "level": "critical"},
    },
    "tried": [
        {
            "number": 1, "ended_at": "2098-11-24T08:00:01Z", "status": 503, "took_s": 0.12,
            "error": "The receiver answered 503 instead of 2xx.", "answer": "try later",
        }
    ],
}  # fmt: skip
REPLAY: Final = {"since": "2098-11-24T00:00:00Z", "delivered": False}
REPLAYED: Final = {"deliveries": 12}
