"""How many codes a reservation gets, from where, and what it says is short."""

import pytest

from codewell.reservations.figures import Supply, plan, state_of

TEMPLATE = Supply("template", pooled=30, expiring=5, room=50, source_max=1_000, new_live=True)
LIST = Supply("import", pooled=30, expiring=0, room=50, source_max=0, new_live=True)
REMOTE = Supply("remote", pooled=30, expiring=0, room=50, source_max=1_000, new_live=True)


@pytest.mark.parametrize(
    ("supply", "count", "parts", "limit"),
    [
        (TEMPLATE, 50, (0, 50, 0), None),
        (TEMPLATE, 80, (30, 50, 0), None),
        (TEMPLATE._replace(expiring=0), 81, (30, 50, 0), "maximum"),
        (TEMPLATE._replace(source_max=40), 80, (30, 40, 0), "stock"),
        (TEMPLATE, 84, (30, 50, 0), "validity"),
        (TEMPLATE._replace(new_live=False), 31, (30, 0, 0), "validity"),
        (TEMPLATE._replace(room=-3), 31, (30, 0, 0), "validity"),
        (LIST, 30, (30, 0, 0), None),
        (LIST, 31, (30, 0, 0), "stock"),
        (LIST._replace(expiring=2), 32, (30, 0, 0), "validity"),
        (LIST._replace(expiring=2), 33, (30, 0, 0), "stock"),
        (REMOTE, 80, (30, 0, 50), None),
        (REMOTE, 81, (30, 0, 50), "maximum"),
        (REMOTE._replace(source_max=40), 80, (30, 0, 40), "remote"),
        (REMOTE._replace(new_live=False), 80, (30, 0, 0), "validity"),
    ],
)
def test_parts_and_the_exact_shortfall(
    supply: Supply, count: int, parts: tuple[int, int, int], limit: str | None
) -> None:
    found = plan(supply, count)

    assert (found.parts.pooled, found.parts.minted, found.parts.on_order) == parts
    assert (found.reserved, found.shortfall) == (sum(parts), count - sum(parts))
    assert found.limit == limit
    assert found.parts.expiring_before_send == supply.expiring


@pytest.mark.parametrize(
    ("used", "left", "on_order", "is_ended", "state"),
    [
        (0, 100, 0, False, "ready"),
        (79, 21, 0, False, "ready"),
        (80, 20, 0, False, "nearly_used"),
        (100, 0, 0, False, "used_up"),
        # Codes that people deleted are as good as used.
        (70, 0, 0, False, "used_up"),
        (0, 60, 40, False, "pending"),
        (60, 0, 40, False, "pending"),
        (10, 90, 0, True, "released"),
    ],
)
def test_states(used: int, left: int, on_order: int, is_ended: bool, state: str) -> None:
    assert state_of(100, used, left, on_order, is_ended=is_ended) == state
