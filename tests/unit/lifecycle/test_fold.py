"""Folding of hand-made events: what is so of each code after them, and which of them cannot follow from the others."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codewell.lifecycle.fold import BREACHES_SHOWN_MAX, Fold
from codewell.lifecycle.fold_store import FoldStore
from codewell.lifecycle.spans import PlaceState, overlaid
from schemas import lifecycle as types

PROGRAM = 7
PARTITION = PROGRAM % types.PARTITIONS
SOON, LATER = "2030-01-01T00:00:00.000001Z", "2040-01-01T00:00:00Z"
SOON_US = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 + 1
LATER_US = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


class Stream:
    """Events of one program, folded."""

    def __init__(self, store: FoldStore) -> None:
        self.fold = Fold(store)
        self._store = store

    def range(self, type_: str, first: int, count: int, run: str = "0:1", **more: Any) -> None:
        self.take(type_, run=run, first=first, count=count, expires_at=more.pop("expires_at", None), **more)

    def code(self, type_: str, place: str, **more: Any) -> None:
        self.take(type_, place=place, **more)

    def attach(self, place: str, expires_at: str | None = None, *, again: bool = False) -> None:
        self.code(types.CODE_ATTACHED, place, again=again, expires_at=expires_at)

    def till(self, type_: str, place: str, uses: int, at: str | None = None, held: str | None = None) -> None:
        self.code(type_, place, uses=uses, activated_at=at, code_held_until=held)

    def take(self, type_: str, **data: Any) -> None:
        self.fold.take(f"event-{self.fold.events}", type_, {"program_id": PROGRAM, **data}, PARTITION)

    def states(self) -> dict[str, PlaceState]:
        return {
            f"{span.listed}:{span.major}:{minor}": span.state
            for span in overlaid(self._store.spans())
            for minor in range(span.first, span.end)
        }

    def says(self) -> list[str]:
        return [one.says for one in self.fold.breaches]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    with FoldStore(tmp_path) as store:
        yield Stream(store)


def test_the_life_of_codes(stream: Stream) -> None:
    stream.range(types.CODES_MADE, 0, 6, expires_at=SOON)
    for number in range(5):
        stream.attach(f"0:1:{number}", LATER)
    stream.attach("0:1:0", LATER, again=True)
    stream.till(types.CODE_HELD, "0:1:0", 0, held=SOON)
    stream.till(types.CODE_ACTIVATED, "0:1:1", 1, at=SOON)
    stream.till(types.CODE_ACTIVATED, "0:1:2", 1, at=SOON)
    stream.till(types.CODE_DEACTIVATED, "0:1:2", 0)
    stream.code(types.CODE_CHANGED, "0:1:2", new_place=None, expires_at=None, fields=None)
    stream.code(types.CODE_RETURNED, "0:1:3", new_place="1:9:0", expires_at=SOON, fields=None)
    stream.code(types.CODE_DELETED, "0:1:4")
    assert stream.says() == []
    assert stream.states() == {
        "0:1:0": PlaceState("attached", LATER_US, held_until=SOON_US),
        "0:1:1": PlaceState("activated", LATER_US, uses=1),
        "0:1:2": PlaceState("attached"),
        "0:1:3": PlaceState("moved"),
        "0:1:4": PlaceState("deleted_attached"),
        "0:1:5": PlaceState("pooled", SOON_US),
        "1:9:0": PlaceState("pooled", SOON_US),
    }
    stream.code(types.CODE_RESTORED, "0:1:4")
    stream.attach("1:9:0")
    stream.code(types.CODE_CHANGED, "0:1:5", new_place="1:10:0", expires_at=LATER, fields=None)
    assert stream.says() == []
    changed = {
        "0:1:4": PlaceState("attached", LATER_US), "0:1:5": PlaceState("moved"), "1:9:0": PlaceState("attached"),
        "1:10:0": PlaceState("pooled", LATER_US),
    }  # fmt: skip
    assert changed.items() <= stream.states().items()


def test_what_an_order_had_of_a_deleted_code_may_still_end(stream: Stream) -> None:
    stream.range(types.CODES_MADE, 0, 3)
    for number in range(3):
        stream.attach(f"0:1:{number}")
        stream.till(types.CODE_ACTIVATED, f"0:1:{number}", 1, held=SOON)
        stream.code(types.CODE_DELETED, f"0:1:{number}")
    stream.till(types.CODE_DEACTIVATED, "0:1:0", 0, held=SOON)
    stream.till(types.CODE_RELEASED, "0:1:1", 1)
    assert stream.says() == []
    assert {one.state for one in stream.states().values()} == {"deleted_attached"}
    stream.code(types.CODE_RESTORED, "0:1:0")
    stream.code(types.CODE_RESTORED, "0:1:1")
    stream.till(types.CODE_HELD, "0:1:2", 1, held=LATER)
    assert stream.says() == ["the code 0:1:2 of program 7 was deleted_attached."]
    states = stream.states()
    assert states["0:1:0"] == PlaceState("attached", held_until=SOON_US)
    assert states["0:1:1"] == PlaceState("attached", uses=1)


def test_ranges_are_about_codes_of_the_pool(stream: Stream) -> None:
    stream.range(types.CODES_MADE, 0, 4)
    stream.attach("0:1:1")
    stream.range(types.CODES_DELETED, 0, 4)
    assert [one.state for one in stream.states().values()] == ["deleted", "attached", "deleted", "deleted"]
    stream.range(types.CODES_RESTORED, 0, 4)
    stream.range(types.CODES_CHANGED, 2, 2, expires_at=LATER)
    stream.range(types.CODES_EXPIRED, 2, 2, expires_at=LATER)
    pooled = PlaceState("pooled")
    assert stream.states() == {
        "0:1:0": pooled, "0:1:1": PlaceState("attached"), "0:1:2": PlaceState("pooled", LATER_US),
        "0:1:3": PlaceState("pooled", LATER_US),
    }  # fmt: skip
    stream.range(types.CODES_IMPORTED, 0, 5, "1:4", import_id=None)
    stream.attach("1:4:0")
    stream.range(types.CODES_CHANGED, 2, 2, "1:4", expires_at=SOON)
    stream.range(types.CODES_MOVED, 3, 2, "1:4", new_run="1:5", new_first=10)
    stream.range(types.CODES_WITHDRAWN, 0, 3, "1:4")
    assert stream.says() == []
    assert {place: state for place, state in stream.states().items() if place.startswith("1:")} == {
        "1:4:0": PlaceState("attached"), "1:4:1": PlaceState("withdrawn"), "1:4:2": PlaceState("withdrawn"),
        "1:5:10": PlaceState("pooled", SOON_US), "1:5:11": pooled,
    }  # fmt: skip


def test_a_new_epoch_begins_with_what_there_is(stream: Stream) -> None:
    stream.range(types.CODES_MADE, 0, 4)
    stream.attach("0:1:0")
    stream.take(types.EPOCH_STARTED, epoch=2, reason="slot_lost")
    assert stream.states() == {}
    stream.range(types.CODES_SNAPSHOT, 0, 3, state="pooled")
    more = {
        "request_id": None,
        "uses": 1,
        "activated_at": SOON,
        "held_until": None,
        "expires_at": LATER,
        "new_place": None,
    }
    stream.code(types.CODE_SNAPSHOT, "0:1:1", state="attached", **more)
    stream.code(types.CODE_SNAPSHOT, "0:1:2", state="deleted", **more)
    stream.range(types.CODES_SNAPSHOT, 0, 2, "1:3", state="withdrawn")
    stream.take(types.EPOCH_READY, epoch=2)
    assert stream.says() == []
    assert stream.states() == {
        "0:1:0": PlaceState("pooled"), "0:1:1": PlaceState("activated", LATER_US, uses=1),
        "0:1:2": PlaceState("deleted"), "1:3:0": PlaceState("withdrawn"), "1:3:1": PlaceState("withdrawn"),
    }  # fmt: skip


def test_what_cannot_follow_is_told(stream: Stream) -> None:
    stream.attach("0:1:0")
    stream.range(types.CODES_MADE, 0, 3)
    stream.range(types.CODES_MADE, 2, 3)
    stream.attach("0:1:1")
    stream.attach("0:1:1")
    stream.till(types.CODE_ACTIVATED, "0:1:2", 1, at=SOON)
    stream.range(types.CODES_DELETED, 4, 4)
    stream.code(types.CODE_RESTORED, "0:1:3")
    stream.code(types.CODE_RETURNED, "0:1:4", new_place="1:9:0", expires_at=None, fields=None)
    assert stream.says() == [
        "the code 0:1:0 of program 7 was never made.",
        "1 of the codes 0:1:2 and 2 after it of program 7 were made before.",
        "the code 0:1:1 of program 7 was attached.",
        "the code 0:1:2 of program 7 was pooled.",
        "3 of the codes 0:1:4 and 3 after it of program 7 were never made.",
        "the code 0:1:3 of program 7 was pooled.",
        "the code 0:1:4 of program 7 was deleted.",
    ]
    assert stream.fold.breaches[2].event_id == "event-4"
    for _ in range(BREACHES_SHOWN_MAX):
        stream.attach("0:1:1")
    assert (stream.fold.breach_count, len(stream.says())) == (7 + BREACHES_SHOWN_MAX, BREACHES_SHOWN_MAX)
