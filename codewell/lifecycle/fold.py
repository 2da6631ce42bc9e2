"""Folds events of the stream, one by one, into what is so of each code.

An event that does not follow from those before it is a *breach*: the stream lacks a change, or has one twice.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from codewell.lifecycle.fold_store import FoldedPlace, FoldStore
from codewell.lifecycle.spans import CodeSpan, PlaceState, State
from schemas import lifecycle

BREACHES_SHOWN_MAX: Final = 10
_US_PER_S: Final = 1_000_000

Data = Mapping[str, Any]


class Breach(NamedTuple):
    """An event that does not follow from those before it. `event_id` is its `ce_id`."""

    event_id: str
    type: str
    says: str


class Fold:
    """The state of all codes after some events of a topic with so many partitions."""

    def __init__(self, store: FoldStore, partitions: int = lifecycle.PARTITIONS) -> None:
        self.events = 0
        self.breach_count = 0
        self.breaches: list[Breach] = []
        """The first BREACHES_SHOWN_MAX."""
        self._store = store
        self._partitions = partitions
        self._event_id = self._type = ""

    def take(self, event_id: str, type_: str, data: Data, partition: int) -> None:
        """Take the next event of a partition, with its data as decoded JSON."""
        self.events += 1
        self._event_id, self._type = event_id, type_
        if type_ in _OF_RANGE:
            _OF_RANGE[type_](self, _span(data), data)
        elif type_ in _OF_CODE:
            _OF_CODE[type_](self, _place(data, data["place"]), data)
        elif type_ == lifecycle.EPOCH_STARTED:
            self._store.clear(partition, self._partitions)

    # Ranges.

    def made(self, span: CodeSpan, data: Data) -> None:
        """Codes were made, or a snapshot has them."""
        there = self._store.make(
            span._replace(state=PlaceState(data.get("state", "pooled"), _moment(data["expires_at"])))
        )
        if there:
            self._breach(f"{there} of the codes {_written(span)} were made before.")

    def moved(self, span: CodeSpan, data: Data) -> None:
        """Pooled codes have other places, in the same order."""
        moved = self._store.runs(span)
        self._change(span, lambda _: None)
        target = _span({**data, "run": data["new_run"], "first": data["new_first"]})
        for run in moved:
            offset = max(run.first, span.first) - span.first
            count = min(run.end, span.end) - span.first - offset
            new = target.part(target.first + offset, target.first + offset + count)
            self._store.make(new._replace(state=run.state))

    def changed(self, span: CodeSpan, data: Data) -> None:
        """Pooled codes have another expiry."""
        self._change_those(span, "pooled", expires_at=_moment(data["expires_at"]))

    def deleted(self, span: CodeSpan, _: Data) -> None:
        """Pooled codes are deleted."""
        self._change_those(span, "pooled", state="deleted")

    def restored(self, span: CodeSpan, _: Data) -> None:
        """Deleted codes are in the pool again."""
        self._change_those(span, "deleted", state="pooled")

    def withdrawn(self, span: CodeSpan, _: Data) -> None:
        """An import was undone: pooled codes are gone."""
        self._change_those(span, "pooled", state="withdrawn")

    def _change_those(self, span: CodeSpan, before: str, **changes: Any) -> None:
        self._change(span, lambda one: one._replace(**changes) if one.state == before else one)

    def _change(self, span: CodeSpan, change: Callable[[PlaceState], PlaceState | None]) -> None:
        if missing := self._store.change(span, change):
            self._breach(f"{missing} of the codes {_written(span)} were never made.")

    # Single codes.

    def attached(self, place: FoldedPlace, data: Data) -> None:
        """A profile has the code; with `again`, one more profile or the same one again."""
        if data["again"]:
            self._known(place, "attached", "activated")
            return
        # A repair after a fail-over gives a code its profile again that was deleted in the pool meanwhile. Its deletion
        # follows.
        self._known(place, "pooled", "deleted")
        self._store.put(place, PlaceState("attached", _moment(data["expires_at"])))

    def at_till(self, place: FoldedPlace, data: Data) -> None:
        """The code is held, released, used, or a use of it was taken back."""
        # A deleted code has what an order held or used before, and that may still end.
        ended = ("deleted_attached",) if self._type in _ENDS_AT_TILL else ()
        before = self._known(place, "attached", "activated", *ended)
        state = before.state if before.state in ended else _used(data, "attached")
        held_until = _moment(data["code_held_until"])
        self._store.put(place, PlaceState(state, before.expires_at, uses=data["uses"], held_until=held_until))

    def changed_or_moved(self, place: FoldedPlace, data: Data) -> None:
        """The code has another expiry; a pooled one has another place then."""
        if data["new_place"] is not None:
            self._left(place, data, "pooled")
            return
        before = self._known(place, "attached", "activated")
        self._store.put(place, before._replace(expires_at=_moment(data["expires_at"])))

    def returned(self, place: FoldedPlace, data: Data) -> None:
        """An attached code is in the pool again, at another place."""
        self._left(place, data, "attached")

    def _left(self, place: FoldedPlace, data: Data, state: State) -> None:
        before = self._known(place, state)
        self._store.put(place, before._replace(state="moved"))
        new = _place(data, data["new_place"])
        span = CodeSpan(*new, new.minor + 1, PlaceState("pooled", _moment(data["expires_at"])))
        if self._store.make(span):
            self._breach(f"the code {_written(span)} was made before.")

    def code_deleted(self, place: FoldedPlace, _: Data) -> None:
        """A pooled or attached code is deleted."""
        before = self._known(place, "pooled", "attached")
        self._store.put(place, before._replace(state="deleted" if before.state == "pooled" else "deleted_attached"))

    def code_restored(self, place: FoldedPlace, _: Data) -> None:
        """A deleted code is attached again."""
        before = self._known(place, "deleted_attached")
        self._store.put(place, before._replace(state="attached"))

    def snapshot(self, place: FoldedPlace, data: Data) -> None:
        """The state of a code at the beginning of an epoch."""
        self._known(place, "pooled", "deleted", "withdrawn")
        expires_at, held_until = _moment(data["expires_at"]), _moment(data["held_until"])
        state = _used(data, data["state"])
        if state == "deleted" and data["request_id"] is not None:
            state = "deleted_attached"
        self._store.put(place, PlaceState(state, expires_at, data["uses"], held_until))

    def _known(self, place: FoldedPlace, *states: str) -> PlaceState:
        """The code's state, which is to be one of these."""
        state = self._store.state(place)
        if state is None or state.state not in states:
            was = "never made" if state is None else state.state
            self._breach(f"the code {_written(CodeSpan(*place, place.minor + 1, _POOLED))} was {was}.")
        return state or _POOLED

    def _breach(self, says: str) -> None:
        self.breach_count += 1
        if len(self.breaches) < BREACHES_SHOWN_MAX:
            self.breaches.append(Breach(self._event_id, self._type, says))


_POOLED: Final = PlaceState("pooled")
_ENDS_AT_TILL: Final = frozenset({lifecycle.CODE_RELEASED, lifecycle.CODE_DEACTIVATED})
_OF_RANGE: Final[dict[str, Callable[[Fold, CodeSpan, Data], None]]] = {
    lifecycle.CODES_MADE: Fold.made,
    lifecycle.CODES_IMPORTED: Fold.made,
    lifecycle.CODES_SNAPSHOT: Fold.made,
    lifecycle.CODES_MOVED: Fold.moved,
    lifecycle.CODES_CHANGED: Fold.changed,
    lifecycle.CODES_DELETED: Fold.deleted,
    lifecycle.CODES_RESTORED: Fold.restored,
    lifecycle.CODES_WITHDRAWN: Fold.withdrawn,
}
_OF_CODE: Final[dict[str, Callable[[Fold, FoldedPlace, Data], None]]] = {
    lifecycle.CODE_ATTACHED: Fold.attached,
    lifecycle.CODE_HELD: Fold.at_till,
    lifecycle.CODE_RELEASED: Fold.at_till,
    lifecycle.CODE_ACTIVATED: Fold.at_till,
    lifecycle.CODE_DEACTIVATED: Fold.at_till,
    lifecycle.CODE_CHANGED: Fold.changed_or_moved,
    lifecycle.CODE_RETURNED: Fold.returned,
    lifecycle.CODE_DELETED: Fold.code_deleted,
    lifecycle.CODE_RESTORED: Fold.code_restored,
    lifecycle.CODE_SNAPSHOT: Fold.snapshot,
}


def _span(data: Data) -> CodeSpan:
    listed, major = data["run"].split(":")
    first = data["first"]
    return CodeSpan(data["program_id"], int(listed), int(major), first, first + data["count"], _POOLED)


def _place(data: Data, written: str) -> FoldedPlace:
    listed, major, minor = written.split(":")
    return FoldedPlace(data["program_id"], int(listed), int(major), int(minor))


def _used(data: Data, state: State) -> State:
    return "activated" if state == "attached" and data["activated_at"] is not None else state


def _moment(written: str | None) -> int | None:
    """Microseconds since 1970, exactly."""
    if written is None:
        return None
    whole = datetime.fromisoformat(written)
    return int(whole.replace(microsecond=0).timestamp()) * _US_PER_S + whole.microsecond


def _written(span: CodeSpan) -> str:
    count = span.end - span.first
    more = f" and {count - 1} after it" if count > 1 else ""
    return f"{span.listed}:{span.major}:{span.first}{more} of program {span.program_id}"
