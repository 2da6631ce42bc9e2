"""The store of a fold, against a plain dictionary."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codewell.lifecycle import fold_store
from codewell.lifecycle.fold_store import FoldedPlace, FoldStore
from codewell.lifecycle.spans import CodeSpan, PlaceState, overlaid
from tests.support.seeded_random import seeded

STATES = (PlaceState("pooled"), PlaceState("pooled", 5), PlaceState("deleted"))


def becoming(state: PlaceState | None) -> Callable[[PlaceState], PlaceState | None]:
    return lambda _: state


def test_it_knows_of_each_code_what_a_dictionary_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = seeded()
    # Some are in memory and some in the file.
    monkeypatch.setattr(fold_store, "_KEPT_MAX", 7)
    runs: dict[FoldedPlace, PlaceState] = {}
    singles: dict[FoldedPlace, PlaceState] = {}
    with FoldStore(tmp_path) as store:
        for _ in range(1_500):
            run = chance.choice(((1, 0, 1), (1, 1, 9), (2, 0, 1)))
            first = chance.randrange(60)
            end = first + chance.randrange(1, 9)
            places = [FoldedPlace(*run, minor) for minor in range(first, end)]
            span = CodeSpan(*run, first, end, chance.choice(STATES))
            match chance.randrange(4):
                case 0:
                    assert store.make(span) == sum(one in runs for one in places)
                    runs = dict.fromkeys(places, span.state) | runs
                case 1:
                    new = chance.choice((span.state, None))
                    assert store.change(span, becoming(new)) == sum(one not in runs for one in places)
                    for one in places:
                        if one in runs and new is None:
                            del runs[one]
                        elif one in runs and new is not None:
                            runs[one] = new
                case 2 if chance.random() < 0.05:
                    partition = chance.randrange(2)
                    store.clear(partition, 2)
                    runs = {one: state for one, state in runs.items() if one.program_id % 2 != partition}
                    singles = {one: state for one, state in singles.items() if one.program_id % 2 != partition}
                case _:
                    place = places[0]
                    assert store.state(place) == singles.get(place, runs.get(place))
                    if place in runs:
                        singles[place] = PlaceState("attached", uses=chance.randrange(5))
                        store.put(place, singles[place])
        told = {
            FoldedPlace(*span.run, minor): span.state
            for span in overlaid(store.spans())
            for minor in range(span.first, span.end)
        }
    assert told == runs | singles
    assert not list(tmp_path.iterdir())
