"""Codes side by side with the same state, as spans of places: from the stream and from the tables, and how they differ.

A code's place is its program, `listed` (0 a minted code, 1 a text), `major` (template version or block) and `minor`
(number or position). Spans are ordered by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

State = Literal["pooled", "attached", "activated", "deleted", "deleted_attached", "moved", "withdrawn", "archived"]


class PlaceState(NamedTuple):
    """What is so of a code until the next event. Times are microseconds since 1970; None is no time."""

    state: State
    """`deleted_attached`: it was deleted, and had a profile. `moved`: it went on at another place. `withdrawn`: an
    import was undone. `archived`, in the tables alone: it expired long ago, and what it was before is not known any
    more. Expired and held follow from the times."""
    expires_at: int | None = None
    uses: int = 0
    held_until: int | None = None

    def is_as_in(self, tables: "PlaceState") -> bool:
        """Whether the tables say the same of a code, as far as they know."""
        return self == tables or (tables.state == "archived" and self.state in _ARCHIVED_FROM)

    @property
    def comparable(self) -> "PlaceState":
        """The same without what does not matter of a code that is gone."""
        return PlaceState(self.state) if self.state in _GONE else self


_GONE: Final = frozenset({"deleted", "deleted_attached", "moved", "withdrawn", "archived"})
# Given, or expired in the pool; `deleted` is how the snapshot of a later epoch tells it.
_ARCHIVED_FROM: Final = frozenset({"attached", "activated", "pooled", "deleted", "withdrawn"})


class CodeSpan(NamedTuple):
    """The codes at `first` to `end` - 1 of one run of places, all in one state."""

    program_id: int
    listed: int
    major: int
    first: int
    end: int
    state: PlaceState

    @property
    def run(self) -> tuple[int, int, int]:
        """Where it is, without the numbers."""
        return self[:3]

    def part(self, first: int, end: int) -> "CodeSpan":
        """Some of its codes."""
        return self._replace(first=first, end=end)


class Difference(NamedTuple):
    """Codes that the stream has otherwise than the tables; None where one of them has no such code."""

    span: CodeSpan
    """The places. Its state is the stream's or, where that is None, the tables'."""
    stream: PlaceState | None
    tables: PlaceState | None

    @property
    def kind(self) -> Literal["missing", "surplus", "wrong"]:
        """Missing from the stream, surplus in it, or there with another state."""
        return "missing" if self.stream is None else "surplus" if self.tables is None else "wrong"

    @property
    def codes(self) -> int:
        """How many."""
        return self.span.end - self.span.first


_LAST: Final = CodeSpan(2**63, 0, 0, 0, 0, PlaceState("pooled"))


class Overlay:
    """Lays single codes over runs. Spans come in order, a run before the single codes in it.

    Runs don't overlap, nor do single codes.
    """

    def __init__(self) -> None:
        self._run: CodeSpan | None = None

    def take(self, span: CodeSpan, *, is_single: bool) -> Iterator[CodeSpan]:
        """The next one. Yields what is complete by it."""
        run = self._run
        if run is not None and (not is_single or span.run != run.run or span.first >= run.end):
            yield run
            run = None
        if not is_single:
            self._run = span
            return
        if run is not None:
            if run.first < span.first:
                yield run.part(run.first, span.first)
            run = run.part(span.end, run.end) if span.end < run.end else None
        self._run = run
        yield span

    def end(self) -> Iterator[CodeSpan]:
        """What is left after the last one."""
        if self._run is not None:
            yield self._run


def overlaid(spans: Iterable[tuple[CodeSpan, bool]]) -> Iterator[CodeSpan]:
    """Spans with True for single codes, laid over each other."""
    overlay = Overlay()
    for span, is_single in spans:
        yield from overlay.take(span, is_single=is_single)
    yield from overlay.end()


class Comparison:
    """Compares the stream's spans with those of the tables, which are taken one by one, in order."""

    def __init__(self, stream: Iterator[CodeSpan]) -> None:
        self.codes = 0
        """How many the tables have so far, at all their places."""
        self._stream = stream
        self._next = next(stream, _LAST)

    def take(self, span: CodeSpan) -> Iterator[Difference]:
        """How the stream differs from the tables up to the end of this span."""
        self.codes += span.end - span.first
        left = span
        while True:
            ours = self._next
            if (ours.run, ours.end) <= (left.run, left.first):
                yield Difference(ours, ours.state, None)
                self._advance()
            elif ours.run != left.run or ours.first >= left.end:
                yield Difference(left, None, left.state)
                return
            elif ours.first < left.first:
                yield Difference(ours.part(ours.first, left.first), ours.state, None)
                self._next = ours.part(left.first, ours.end)
            elif left.first < ours.first:
                yield Difference(left.part(left.first, ours.first), None, left.state)
                left = left.part(ours.first, left.end)
            else:
                both = ours.part(ours.first, min(ours.end, left.end))
                if not ours.state.is_as_in(left.state):
                    yield Difference(both, ours.state, left.state)
                self._next = ours.part(both.end, ours.end)
                if both.end == ours.end:
                    self._advance()
                if both.end == left.end:
                    return
                left = left.part(both.end, left.end)

    def end(self) -> Iterator[Difference]:
        """What the stream has after the last span of the tables."""
        while self._next is not _LAST:
            yield Difference(self._next, self._next.state, None)
            self._advance()

    def _advance(self) -> None:
        self._next = next(self._stream, _LAST)


def joined(differences: Iterable[Difference]) -> Iterator[Difference]:
    """The same, with codes side by side that differ in the same way as one."""
    last: Difference | None = None
    for one in differences:
        if last is not None and (last.span.run, last.span.end, *last[1:]) == (one.span.run, one.span.first, *one[1:]):
            last = last._replace(span=last.span.part(last.span.first, one.span.end))
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def in_both(before: Sequence[Difference], after: Iterable[Difference]) -> Iterator[Difference]:
    """The differences of `after`, of codes that differed before in any way. Both are in order."""
    at = 0
    for one in after:
        while at < len(before) and (before[at].span.run, before[at].span.end) <= (one.span.run, one.span.first):
            at += 1
        for other in (before[n] for n in range(at, len(before))):
            if other.span.run != one.span.run or other.span.first >= one.span.end:
                break
            first, end = max(other.span.first, one.span.first), min(other.span.end, one.span.end)
            yield one._replace(span=one.span.part(first, end))
