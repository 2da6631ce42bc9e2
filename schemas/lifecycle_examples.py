"""Examples of the events in `code-lifecycle`: by message, a title and the value."""

from typing import Any, Final

_PROGRAM: Final = {"program_id": 7, "program": "SPRING"}
_RANGE: Final = {**_PROGRAM, "run": "0:1", "first": 1000, "count": 500}
_TEXTS: Final = {**_PROGRAM, "run": "1:345", "first": 0, "count": 200}
_CODE: Final = {**_PROGRAM, "place": "0:1:1003"}
_REQUEST_ID: Final = "01980a2b-3c4d-7e5f-8a9b-0c1d2e3f4a5b"
_IMPORT_ID: Final = "01980a2b-9a11-7c02-9d33-5a6b7c8d9e0f"
_PROFILE: Final = "9f2c4b6a1d8e4f03b7a5c9d2e1f60718"
_EXPIRY: Final = {"expires_at": "2026-12-31T00:00:00Z"}
_POOLED: Final = {**_EXPIRY, "fields": None}
_TILL: Final = {**_CODE, "order_id": "o-7", "profile": _PROFILE, "activated_at": None}
_HELD: Final = "2026-12-01T10:15:00Z"
_USED: Final = "2026-12-01T10:05:00Z"

EXAMPLES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "CodesMade": ("A full pool", {**_RANGE, "origin": "pool", "source": None, **_POOLED}),
    "CodesImported": ("A file", {**_TEXTS, "import_id": _IMPORT_ID, **_POOLED}),
    "CodesMoved": ("A part for a reservation", {**_TEXTS, "new_run": "1:346", "new_first": 0}),
    "CodesExpired": ("What was left", {**_RANGE, **_EXPIRY}),
    "CodesChanged": ("A longer life", {**_RANGE, "expires_at": None}),
    "CodesDeleted": ("A change of many codes", _RANGE),
    "CodesRestored": ("Its undo", _RANGE),
    "CodesWithdrawn": ("An import undone", _TEXTS),
    "CodeAttached": (
        "A code for a message",
        {
            **_CODE, "profile": _PROFILE, "request_id": _REQUEST_ID, "ordinal": 0, "again": False, **_POOLED,
            "asked_program": None, "fallback": None,
        },
    ),
    "CodeHeld": ("At the checkout", {**_TILL, "held_until": _HELD, "uses": 0, "code_held_until": _HELD}),
    "CodeReleased": ("An emptied cart", {**_TILL, "uses": 0, "code_held_until": None}),
    "CodeActivated": ("A paid order", {**_TILL, "uses": 1, "activated_at": _USED, "code_held_until": None}),
    "CodeDeactivated": ("A refund", {**_TILL, "uses": 0, "code_held_until": None}),
    "CodeReturned": ("A failed send", {**_CODE, "new_place": "1:812:4", **_POOLED}),
    "CodeChanged": ("A longer life", {**_CODE, "new_place": None, "expires_at": None, "fields": {"discount": "10"}}),
    "CodeReissued": ("A lost code", {**_CODE, "new_place": "0:1:1004", "number": 1}),
    "CodeDeleted": ("By hand", _CODE),
    "CodeRestored": ("An undo", _CODE),
    "EpochStarted": ("The first", {"epoch": 1, "reason": "switched_on"}),
    "EpochReady": ("The first", {"epoch": 1}),
    "CodesSnapshot": ("A pool", {**_RANGE, "origin": "pool", "state": "pooled", "import_id": None, **_POOLED}),
    "CodeSnapshot": (
        "An attached code",
        {
            **_CODE, "state": "attached", "profile": _PROFILE, "request_id": _REQUEST_ID, "ordinal": 0, **_POOLED,
            "uses": 0, "activated_at": None, "held_until": None, "new_place": None,
        },
    ),
}  # fmt: skip
