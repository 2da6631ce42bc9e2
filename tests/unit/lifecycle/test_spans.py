"""Spans of codes: laid over each other, and compared code by code with a plain dictionary."""

import itertools
import random

from codewell.lifecycle.spans import CodeSpan, Comparison, Difference, PlaceState, in_both, joined, overlaid
from tests.support.seeded_random import seeded

POOLED, ATTACHED = PlaceState("pooled"), PlaceState("attached")
STATES = (POOLED, ATTACHED, PlaceState("deleted"), PlaceState("attached", uses=1))
Codes = dict[tuple[int, int, int, int], PlaceState]


def codes_of(spans: list[CodeSpan]) -> Codes:
    found: Codes = {}
    for span in spans:
        for minor in range(span.first, span.end):
            assert (*span.run, minor) not in found, spans
            found[(*span.run, minor)] = span.state
    return found


def some_spans(chance: random.Random) -> list[CodeSpan]:
    spans = []
    for run in ((1, 0, 1), (1, 0, 2), (1, 1, 7), (2, 0, 1)):
        at = chance.randrange(3)
        while at < 12 and chance.random() < 0.8:
            end = at + chance.randrange(1, 5)
            spans.append(CodeSpan(*run, at, end, chance.choice(STATES)))
            at = end + chance.choice((0, 0, 1, 3))
    return spans


def test_the_tables_do_not_know_what_an_archived_code_was() -> None:
    """But that it was not gone for somebody else, as those stay."""
    archived = PlaceState("archived")
    for state in (POOLED, ATTACHED, PlaceState("activated", 5, 1), PlaceState("deleted"), PlaceState("withdrawn")):
        assert state.is_as_in(archived)
        assert not state.is_as_in(PlaceState("attached", 7))
    for state in (PlaceState("deleted_attached"), PlaceState("moved")):
        assert not state.is_as_in(archived)


def test_single_codes_lie_over_runs() -> None:
    chance = seeded()
    for _ in range(500):
        runs = some_spans(chance)
        made = [CodeSpan(*place[:3], place[3], place[3] + 1, ATTACHED) for place in codes_of(runs)]
        alone = [CodeSpan(3, 0, 1, 5, 6, ATTACHED)]
        singles = [one for one in made if chance.random() < 0.3] + alone
        given = sorted([*((run, False) for run in runs), *((one, True) for one in singles)],
                       key=lambda given: (given[0].run, given[0].first, given[1]))  # fmt: skip
        laid = list(overlaid(given))
        assert codes_of(laid) == codes_of(runs) | codes_of(singles)
        assert [(one.run, one.first) for one in laid] == sorted((one.run, one.first) for one in laid)


def test_differences_are_those_of_the_codes() -> None:
    chance = seeded()
    for _ in range(2_000):
        stream, tables = some_spans(chance), some_spans(chance)
        comparison = Comparison(iter(stream))
        found: list[Difference] = [one for span in tables for one in comparison.take(span)]
        found += comparison.end()
        ours, theirs = codes_of(stream), codes_of(tables)
        differing = {at: (ours.get(at), theirs.get(at)) for at in ours | theirs if ours.get(at) != theirs.get(at)}
        told = {
            (*one.span.run, minor): (one.stream, one.tables)
            for one in found
            for minor in range(one.span.first, one.span.end)
        }
        assert told == differing
        assert sum(one.codes for one in found) == len(differing)
        assert {one.kind for one in found} <= {"missing", "surplus", "wrong"}


def test_equal_codes_differ_in_nothing_however_they_are_cut() -> None:
    whole = [CodeSpan(1, 0, 1, 0, 10, POOLED)]
    parts = [CodeSpan(1, 0, 1, 0, 3, POOLED), CodeSpan(1, 0, 1, 3, 10, POOLED)]
    for stream, tables in ((whole, parts), (parts, whole)):
        comparison = Comparison(iter(stream))
        assert [one for span in tables for one in comparison.take(span)] == []
        assert list(comparison.end()) == []


def differences_of(chance: random.Random) -> list[Difference]:
    return [Difference(span, None, span.state) for span in some_spans(chance)]


def test_what_differed_before_too_is_found_code_by_code() -> None:
    chance = seeded()
    for _ in range(1_000):
        before, after = differences_of(chance), differences_of(chance)
        kept = codes_of([one.span for one in in_both(before, after)])
        first, second = (codes_of([one.span for one in some]) for some in (before, after))
        assert kept == {place: state for place, state in second.items() if place in first}


def test_equal_differences_side_by_side_are_one() -> None:
    chance = seeded()
    for _ in range(300):
        given = differences_of(chance)
        told = list(joined(given))
        assert codes_of([one.span for one in told]) == codes_of([one.span for one in given])
        for one, other in itertools.pairwise(told):
            assert (one.span.run, one.span.end, one[1:]) != (other.span.run, other.span.first, other[1:])
