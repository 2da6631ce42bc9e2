"""When an epoch begins, what a snapshot has seen, and which events a row of the till stands for."""

from typing import Any

import pytest

from codewell.lifecycle.epochs import Situation, reason_for_epoch
from codewell.lifecycle.progress import StreamProgress, parse_snapshot
from codewell.lifecycle.records import StreamPlace, event_id, sequences_of
from codewell.lifecycle.slot import SlotStatus
from codewell.lifecycle.till_events import till_events

READY = StreamProgress(epoch=2, timeline=1, is_ready=True, snapshot=None, done=500)
SLOT = SlotStatus(is_lost=False, done=500, behind_bytes=0, kept_bytes=0, safe_bytes=None)
WELL = Situation(READY, SLOT, timeline=1, position=900, published=StreamPlace(2, 400, 0), is_new_topic=False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        # Its retention has removed all, or it was made anew.
        ({"published": None}, None),
        ({"published": None, "is_new_topic": True}, "switched_on"),
        ({"noted": None}, "switched_on"),
        ({"noted": READY._replace(is_ready=False)}, "snapshot_interrupted"),
        ({"slot": None}, "slot_lost"),
        ({"slot": SLOT._replace(is_lost=True)}, "slot_lost"),
        # Published and not noted: a crash, unless the log is another one's.
        ({"published": StreamPlace(2, 600, 0)}, None),
        ({"published": StreamPlace(2, 600, 0), "timeline": 2}, "database_replaced"),
        ({"published": StreamPlace(2, 500, 0), "timeline": 2}, None),
        ({"published": StreamPlace(2, 901, 0)}, "database_replaced"),
        ({"published": StreamPlace(3, 0, 0)}, "database_replaced"),
        ({"published": StreamPlace(1, 999, 0)}, None),
    ],
)
def test_an_epoch_begins_for_a_reason(changed: dict[str, Any], reason: str | None) -> None:
    assert reason_for_epoch(WELL._replace(**changed)) == reason


def test_a_snapshot_knows_its_transactions_also_when_their_ids_have_wrapped() -> None:
    first = 3 << 32
    snapshot = parse_snapshot(f"{first - 2}:{first + 3}:{first - 2},{first + 1}", end=1_000)
    seen = [first - 3, first - 1, first, first + 2]
    unseen = [first - 2, first + 1, first + 3, first + 4]

    assert [xid for xid in (*seen, *unseen) if snapshot.has(xid & 0xFFFFFFFF, 900)] == seen
    assert not any(snapshot.has(xid & 0xFFFFFFFF, 1_000) for xid in seen)


def test_sequences_are_ordered_as_text() -> None:
    places = [StreamPlace(1, 0, 0), StreamPlace(1, 0, 4_000_000_000), StreamPlace(1, 9, 1), StreamPlace(1, 10, 0),
              StreamPlace(2, 0, 0)]  # fmt: skip
    texts = [str(place) for place in places]

    assert texts == sorted(texts)
    assert [StreamPlace.parse(text) for text in texts] == places
    assert texts[2] == f"{sequences_of(1, 9)}00000001"
    assert len({event_id(text) for text in texts}) == 5


def row(held: int | None = None, used: int | None = None, ended: int | None = None) -> dict[str, Any]:
    return {"held_until": held, "used_at": used, "ended_at": ended}


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (None, row(held=9), ["held"]),
        (None, row(used=5), ["activated"]),
        (None, row(held=9, ended=5), ["held", "released"]),
        (None, row(used=4, ended=5), ["activated", "deactivated"]),
        (row(held=9), row(held=12), ["held"]),
        (row(held=9), row(held=9), []),
        (row(held=9), row(held=9, used=5), ["activated"]),
        (row(held=9), row(held=9, ended=5), ["released"]),
        (row(held=9), row(held=9, used=5, ended=6), ["activated", "deactivated"]),
        (row(used=5), row(used=5, ended=6), ["deactivated"]),
        (row(used=5), row(used=7), ["deactivated", "activated"]),
        (row(used=5), row(held=9), ["deactivated", "held"]),
        (row(used=5, ended=6), row(used=8), ["activated"]),
        # A profile that is forgotten changes such a row too.
        (row(used=5, ended=6), row(used=5, ended=6), []),
    ],
)
def test_a_row_of_the_till_stands_for_its_steps(old: Any, new: Any, kinds: list[str]) -> None:
    assert list(till_events(old, new)) == [f"dev.codewell.code-{kind}.v1" for kind in kinds]
