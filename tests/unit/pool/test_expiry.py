"""When codes expire, by the program's lifetime and an expiry of their own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.pool.expiry import expiry_in_pool, expiry_when_attached
from codewell.pool.program_rules import ProgramRules

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TTL = timedelta(days=30)
SOON, END, LATE = NOW + timedelta(days=1), NOW + TTL, NOW + timedelta(days=90)


def program(ttl: timedelta | None, ttl_from: str) -> ProgramRules:
    return ProgramRules(
        1,
        "SPRING",
        True,
        None,
        None,
        True,
        True,
        False,
        "request",
        ttl,
        ttl_from,
        9,
        9,
        9,
        1,
        9,
        "template",
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("ttl", "ttl_from", "own", "options", "expected"),
    [
        (None, "creation", None, {}, None),
        (None, "creation", LATE, {}, LATE),
        (TTL, "creation", None, {}, END),
        (TTL, "creation", SOON, {}, SOON),
        (TTL, "creation", LATE, {}, END),
        (TTL, "attachment", None, {}, None),
        (TTL, "attachment", LATE, {}, LATE),
        (TTL, "creation", LATE, {"own_replaces_ttl": True}, LATE),
        (TTL, "creation", None, {"own_replaces_ttl": True}, END),
        (TTL, "attachment", None, {"ttl_always": True}, END),
        (None, "attachment", None, {"ttl_always": True}, None),
    ],
)
def test_expiry_in_the_pool(
    ttl: timedelta | None, ttl_from: str, own: datetime | None, options: Any, expected: datetime | None
) -> None:
    assert expiry_in_pool(program(ttl, ttl_from), NOW, own, **options) == expected


@pytest.mark.parametrize(
    ("ttl", "ttl_from", "in_pool", "expected"),
    [
        (None, "attachment", None, None),
        (TTL, "creation", None, None),
        (TTL, "creation", LATE, LATE),
        (TTL, "attachment", None, END),
        (TTL, "attachment", SOON, SOON),
        (TTL, "attachment", LATE, END),
    ],
)
def test_expiry_when_attached(
    ttl: timedelta | None, ttl_from: str, in_pool: datetime | None, expected: datetime | None
) -> None:
    assert expiry_when_attached(program(ttl, ttl_from), NOW, in_pool) == expected
