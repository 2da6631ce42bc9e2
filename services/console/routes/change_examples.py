"""Examples of reissues and of changes of many codes, for the OpenAPI document."""

from typing import Final

from services.console.routes import examples

CHANGE_FILTER: Final = {"state": "pooled", "profile_id": None, "import_id": None, "expires_from": None,
                        "expires_until": "2027-01-01T00:00:00Z"}  # fmt: skip
BULK: Final = {"filter": {"state": "pooled", "expires_until": "2027-01-01"}, "expires_at": "2099-01-01"}
BULK_COUNTS: Final = {"pooled": 90_000, "expired": 0, "attached": 0, "exact": True}
BULK_CHANGE: Final = {
    "id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10",
    "program": "SPRING",
    "state": "running",
    "filter": CHANGE_FILTER,
    "void": False,
    "expires_at": "2099-01-02T00:00:00Z",
    "total": 90_000,
    "done": 20_000,
    "changed": 20_000,
    "skipped": {},
    "restored": 0,
    "by": "marketing",
    "started_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
}
REISSUE: Final = {"code": "KqZa-0031-ELWX", "reason": "The customer deleted the mail.", "expires": "same"}
REISSUED: Final = examples.CODE | {"replaces": "0:1:3", "reissues_left": 0}
