"""Example answers about programs as they are now."""

from typing import Final

from services.console.routes import examples

OVERVIEW: Final = {
    "program": examples.PROGRAM,
    "state": "active",
    "pooled": 75_100,
    "reserved": 0,
    "made": 100_100,
    "imported": 0,
    "on_order": 0,
    "circuit": None,
    "alerts": 0,
}
OVERVIEWS: Final = {"items": [OVERVIEW], "next_cursor": "U1BSSU5H"}
PROGRAM_STOCK: Final = {**OVERVIEW, "attached": 25_000, "expired": 0, "deleted": 0}
POOL_LEVELS: Final = {
    "program": "SPRING",
    "levels": [
        {"at": "2026-11-23T09:50:00Z", "pooled": 76_400},
        {"at": "2026-11-23T10:00:00Z", "pooled": 75_100},
    ],
    "expected": [
        {"at": "2026-11-23T11:00:00Z", "usual": 67_300, "high": 64_900},
        {"at": "2026-11-23T12:00:00Z", "usual": 58_200, "high": 54_400},
    ],
}
