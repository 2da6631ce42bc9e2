"""Example bodies and responses for the OpenAPI document."""

from typing import Any, Final

from schemas.program import FALLBACK_REASONS, POOL_MAX_DEFAULT

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
    "min_life_at_attach": "P7D",
    "fields": [{"name": "discount", "required": False, "save": True}],
    "reuse": "request",
    "returns": "reuse",
    "return_after": "P3D",
    "reissues_max": 1,
    "allow_guessable": True,
    "fallback": [],
    "fallback_on": list(FALLBACK_REASONS),
    "fallback_after": None,
}
PROGRAM: Final = {**SETTINGS, "id": 1, "removed_at": None, "placeholder": "{loyalty.SPRING.promocode}"}
PROGRAM_ANSWER: Final = {
    **PROGRAM,
    "notes": ["valid_until 2098-12-31 is read in the time zone UTC: it ends when that day ends, 2099-01-01T00:00:00Z."],
}
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
    "reserved": 0,
    "attached": 25_000,
    "activated": 40,
    "expired": 0,
    "deleted": 0,
    "on_order": 0,
    "codes_max": 1_000_000,
    "pool_max": 100_000,
}
_CAME_BACK: Final = {"returned": 4, "quarantined": 2, "voided": 0}
_USAGE: Final = {
    "attached": {"campaign": 40_250, "scenario": 1_200, "person": 3},
    "reused": 0,
    "refused": {"pool_empty": 12},
    **_CAME_BACK,
    "activated": 310,
    "fallbacks": [7, 0, 0],
}
PROGRAM_USAGE: Final = {
    "program": "SPRING",
    "step": "minute",
    "start": "2026-11-23T09:00:00Z",
    "end": "2026-11-23T10:00:00Z",
    "steps": [{"at": "2026-11-23T09:12:00Z", **_USAGE}],
    "total": _USAGE,
}
USAGE: Final = {
    "items": [
        {
            "program": "SPRING",
            **_USAGE,
            "attached_by_minute": [*([0] * 59), 41_453],
            "attached_today": 250_000,
        }
    ],
    "next_cursor": None,
}
WORKERS: Final = {
    "workers": [
        {
            "id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
            "service": "issuer",
            "host": "issuer-0",
            "pid": 7,
            "version": "0.1.0",
            "started_at": "2026-11-23T09:00:00Z",
            "seen_at": "2026-11-23T10:00:00Z",
            "state": "running",
            "ready": False,
            "waiting_for": {"kafka (issue)": "no broker answers"},
            "counters": {
                "answers_per_s": 812.4,
                "answer_p99_ms": 41.2,
                "lag": {"message-render": 40},
                "attached_per_s": {"campaign": 790.0, "scenario": 20.2},
            },
        }
    ]
}
PROMISES: Final[dict[str, Any]] = {
    "check": {
        "state": "running",
        "actor": "operations",
        "started_at": "2026-11-23T10:00:00Z",
        "ended_at": None,
        "rules": 20,
        "rules_done": 7,
        "error": None,
        "findings": [],
    }
}
LAG: Final = {
    "read_at": "2026-11-23T10:00:00Z", "dead_letters": {"message-render.dlq": 3},
    "lags": [{"topic": "message-render", "group": "codewell-issuer", "lag": 40}],
}  # fmt: skip
CODE: Final = {
    "code": "smFg-2497-DMPB",
    "program": "SPRING",
    "state": "attached",
    "profile_id": "p-1001",
    "attached_at": "2026-11-23T10:00:00Z",
    "activated_at": None,
    "expires_at": "2026-12-23T10:00:00Z",
    "created_at": "2026-11-23T09:00:00Z",
    "place": "0:1:5",
    "fields": {"discount": "10"},
    "uses": 0,
    "held_until": None,
}
_EVENT: Final[dict[str, Any]] = {
    "by": None, "origin": None, "source": None, "import_id": None, "file": None, "request_id": None,
    "profile_id": None, "scope": None, "changed": [], "expires_at": None, "order_id": None, "other": None,
    "reason": None, "asked": None, "link": None,
}  # fmt: skip
HISTORY: Final = {
    "code": CODE,
    "events": [
        {**_EVENT, "at": "2026-11-23T09:00:00Z", "event": "made", "origin": "pool"},
        {**_EVENT, "at": "2026-11-23T10:00:00Z", "event": "attached", "profile_id": "p-1001",
         "request_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10"},
    ],
    "complete": True,
}  # fmt: skip
GENERATED: Final = {
    **STOCK,
    "batch": "1-100000-100100",
    "codes": [CODE | {"state": "pooled", "profile_id": None, "attached_at": None}],
    "next_cursor": "MDoxOjEwMDA5OQ",
}
CODES: Final = {"items": [CODE], "next_cursor": "MDoxOjk5", "total": 100_100}
ATTACH: Final = {"profile_id": "p-1001"}
ATTACH_NAMED: Final = {"profile_id": "p-1001", "code": "smFg-2497-DMPB"}
CODE_ONLY: Final = {"code": "smFg-2497-DMPB"}
CHANGES: Final = {"expires_at": "2099-01-01T00:00:00Z", "fields": {"discount": "15"}}
NAME_CHECK: Final = {"name": "SPRING", "free": True, "detail": ""}
TEMPLATE: Final = {"template": "{string 4}-{number 4}-{upstring 4}", "codes_max": 1_000_000}
TEMPLATE_PREVIEW: Final = {
    "valid": True,
    "error": None,
    "codes": ["smFg-2497-DMPB", "KqZa-0031-ELWX", "bTnR-8820-AOQS", "wVyc-4417-ZZKD", "PeJu-1596-HHMC"],
    "length": 14,
    "space": "33411639398400000",
    "bits": 54.9,
    "codes_possible": 33_411_639_398_400_000,
    "codes_max_safe": 1_059_477,
    "strength": {
        "level": "good",
        "sentence": "Good: of 1,000,000 codes, someone who tries 10 per second for 365 days finds one with odds of 1 "
        "in 106.",
        "bits_needed": 54.8,
    },
    "check": None,
    "tokens": [{"token": "{number 4}", "meaning": "digits", "characters": "0123456789"}],
}
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
REMOTE_TEST_OF_PROGRAM: Final[dict[str, Any]] = {"count": 1, "fields": {"discount": "10"}}
REMOTE_TEST_OF_URL: Final = {"url": "https://codes.example.com/orders", "request_max": 500, **REMOTE_TEST_OF_PROGRAM}
REMOTE_TEST: Final = {
    "request": {
        "method": "POST",
        "url": "https://codes.example.com/orders",
        "headers": {
            "content-type": "application/json",
            "idempotency-key": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
            "webhook-id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
            "webhook-timestamp": "1795860000",
            "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            "codewell-test": "true",
        },
        "body": '{"version":1,"request_id":"0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10","program":"SPRING","count":1,'
        '"fields":{"discount":"10"}}',
    },
    "secret": None,
    "answer": {
        "status": 200,
        "headers": {"content-type": "application/json"},
        "body": '{"version":1,"request_id":"0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10","codes":[{"code":""}]}',
        "cut": False,
    },
    "took_s": 0.042,
    "verdict": {
        "accepted": False,
        "field": "codes.0.code",
        "detail": "codes.0.code: must have at least 1 character.",
    },
}
REMOTE_SECRETS: Final = {
    "program": "SPRING",
    "secrets": [
        {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "made_at": "2026-11-23T10:00:00Z", "ends_at": None}
    ],
}

NEW_TOKEN: Final = {"name": "shop", "scopes": ["redeem"], "groups": ["marketing"], "expires_in": "P90D"}
TOKEN: Final[dict[str, Any]] = {
    "id": 7,
    "name": "shop",
    "scopes": ["redeem"],
    "groups": ["marketing"],
    "created_at": "2026-11-23T10:00:00Z",
    "last_used": None,
    "expires_at": "2027-02-21T10:00:00Z",
}
CREATED_TOKEN: Final = {**TOKEN, "secret": "cw_Ij8yD0kbVxvXcVqE0o3S7H1mVfYw2nZr5tQaUeGpLsK"}
TOKENS: Final = {"items": [TOKEN], "next_cursor": "c2hvcA"}

_READING: Final[dict[str, Any]] = {
    "kind": "text", "encoding": "utf-8", "delimiter": ";", "sheet": None, "hidden_sheets": [], "header_row": 1,
    "skipped_rows": 1, "column": {"number": 2, "name": "Code"}, "profile_column": None, "expiry_column": None,
    "field_columns": {}, "time_zone": "UTC",
}  # fmt: skip
IMPORT: Final = {
    "id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "program": "SPRING",
    "state": "running",
    "file": "codes.csv",
    "file_bytes": 15_000_005,
    "options": {
        "column": "Code", "profile_column": None, "expiry_column": None, "field_columns": {}, "encoding": None,
        "delimiter": None, "sheet": None, "header": None, "header_row": None, "time_zone": None, "plain_numbers": False,
    },
    "reading": _READING,
    "rows": 20_000,
    "imported": 19_998,
    "attached": 0,
    "taken_back": 0,
    "bad": {"twice_in_file": 2},
    "case_variants": 0,
    "share_read": 1.0,
    "error": None,
    "started_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
}  # fmt: skip
IMPORTS: Final = {"items": [IMPORT], "next_cursor": None}
IMPORT_PREVIEW: Final = {
    "reading": _READING,
    "columns": [
        {"number": 1, "name": "Name", "samples": ["Ana", "Bob"]},
        {"number": 2, "name": "Code", "samples": ["AB-12", "CD-34"]},
    ],
    "checked_rows": 3,
    "good": 2,
    "bad": {"empty": 1},
    "case_variants": 0,
    "codes": [
        {"row": 2, "code": "AB-12", "profile_id": None, "expires_at": None, "fields": {}},
        {"row": 3, "code": "CD-34", "profile_id": None, "expires_at": None, "fields": {}},
    ],
    "bad_rows": [{"row": 4, "code": "", "reason": "empty", "detail": ""}],
}


def answer(
    status: int, description: str, example: object, headers: dict[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """An endpoint's documented success response."""
    content = {"application/json": {"example": example}}
    return {status: {"description": description, "content": content} | ({"headers": headers} if headers else {})}
