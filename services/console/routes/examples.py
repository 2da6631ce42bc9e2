"""Example bodies and responses for the OpenAPI document."""

from typing import Any, Final

from schemas.program import POOL_MAX_DEFAULT

SETTINGS: Final[dict[str, Any]] = {
    "name": "SPRING",
    "title": "Spring sale",
    "description": "",
    "groups": ["marketing"],
    "active": True,
    "valid_from": None,
    "valid_until": "2099-01-01T00:00:00Z",
    "source": {"kind": "template", "template": "{string 4}-{number 4}-{upstring 4}"},
    "scenario_can_create": True,
    "campaign_can_create": True,
    "shared": False,
    "auto_link": False,
    "codes_max": 1_000_000,
    "pool_max": POOL_MAX_DEFAULT,
    "ttl": "P30D",
    "ttl_from": "creation",
    "fields": [{"name": "discount", "required": False, "save": True}],
    "reuse": "request",
    "allow_guessable": True,
}
PROGRAM: Final = {**SETTINGS, "id": 1}
PROGRAMS: Final = {"items": [PROGRAM], "next_cursor": "U1BSSU5H"}
PROGRAM_CHANGES: Final = {"title": "Late spring sale", "valid_until": None, "pool_max": 50_000}
CLONE: Final = {"name": "AUTUMN"}
GENERATE: Final = {"count": 100, "fields": {"discount": "10"}}
GENERATE_FOR: Final = {"profiles": ["p-1001", "p-1002"]}
STOCK: Final = {
    "program": "SPRING",
    "made": 100_100,
    "imported": 0,
    "pooled": 75_100,
    "attached": 25_000,
    "activated": 40,
    "expired": 0,
    "deleted": 0,
    "on_order": 0,
    "codes_max": 1_000_000,
    "pool_max": 100_000,
}
CODE: Final = {
    "code": "smFg-2497-DMPB",
    "program": "SPRING",
    "state": "attached",
    "profile_id": "p-1001",
    "attached_at": "2026-11-23T10:00:00Z",
    "activated_at": None,
    "expires_at": "2026-12-23T10:00:00Z",
    "fields": {"discount": "10"},
}
CODES: Final = {"items": [CODE], "next_cursor": "MDoxOjk5"}
ATTACH: Final = {"profile_id": "p-1001"}
ATTACH_NAMED: Final = {"profile_id": "p-1001", "code": "smFg-2497-DMPB"}
CODE_ONLY: Final = {"code": "smFg-2497-DMPB"}
CHANGES: Final = {"expires_at": "2099-01-01T00:00:00Z", "fields": {"discount": "15"}}
PROFILE_FIELDS: Final = {"fields": {"email": "ann@example.com", "name": "Ann"}}
PROFILE: Final = {"profile_id": "p-1001", **PROFILE_FIELDS, "changed_at": "2026-11-23T10:00:00Z"}
FORGOTTEN: Final = {"answers": 3}
REMOTE_SERVICE: Final = {
    "program": "SPRING",
    "url": "https://codes.example.com/orders",
    "on_order": 1_000,
    "requests_open": 2,
    "circuit": "open",
    "rest_until": "2026-11-23T10:00:15Z",
    "failures": 5,
    "error": "The service answered 500 instead of 200.",
    "error_at": "2026-11-23T10:00:00Z",
}
REMOTE_SECRETS: Final = {
    "program": "SPRING",
    "secrets": [
        {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "made_at": "2026-11-23T10:00:00Z", "ends_at": None}
    ],
}

IMPORT: Final = {
    "id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "program": "SPRING",
    "state": "running",
    "file": "codes.csv",
    "file_bytes": 15_000_005,
    "options": {
        "column": "Code", "profile_column": None, "expiry_column": None, "field_columns": {}, "encoding": None,
        "delimiter": None, "sheet": None, "header": None,
    },
    "rows": 20_001,
    "imported": 19_998,
    "attached": 0,
    "taken_back": 0,
    "bad": {"twice_in_file": 2},
    "error": None,
    "started_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
}  # fmt: skip


def answer(status: int, description: str, example: object) -> dict[int | str, dict[str, Any]]:
    """An endpoint's documented success response."""
    return {status: {"description": description, "content": {"application/json": {"example": example}}}}
