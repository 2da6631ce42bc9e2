"""Candidate codes and bad rows: what the rows of a file become."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, overload

from schemas.imports import Reason

_BAD_TEXT_MAX: Final = 200


class CandidateRules(NamedTuple):
    """The program's rules for a row."""

    now: datetime
    """The database's time, later by the program's `min_life_at_attach`; an expiry must be later."""
    saved: frozenset[str]
    required: frozenset[str]
    profile_required: bool


class BlockAttributes(NamedTuple):
    """The common attributes of a block's codes. Without an expiry, the program's lifetime applies."""

    expires_at: datetime | None
    fields: str | None
    """JSON text."""


class Candidate(NamedTuple):
    """A code whose own row is valid."""

    row: int
    text: str
    kind: BlockAttributes
    profile_id: str
    """The profile to which the code is attached at once; empty for none."""


class BadRow(NamedTuple):
    """A skipped row, with its text cut to what a user needs to find it."""

    row: int
    text: str
    reason: Reason
    detail: str = ""
    """What is wrong, and what to do; empty where the reason says it."""


NO_ATTRIBUTES: Final = BlockAttributes(None, None)


class UsualCandidates(Sequence[Candidate]):
    """Candidates of rows in turn, without attributes and profiles: held as texts, and made where one is looked at."""

    def __init__(self, first: int, texts: list[str]) -> None:
        """`first` is the row of the first text."""
        self._first = first
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        return Candidate(range(self._first, self._first + len(self))[place], self.texts[place], NO_ATTRIBUTES, "")


class Chunk(NamedTuple):
    """Consecutive rows of a file."""

    after: int
    """The number of rows of the file before these."""
    rows: int
    candidates: Sequence[Candidate]
    """With different texts."""
    bad: list[BadRow]
    case_variants: int = 0
    """Candidates that differ from an earlier one of the file only in case."""
    share: float = 0.0
    """How much of the file is read with these rows, of 1."""


def texts_of(candidates: Sequence[Candidate]) -> list[str]:
    """Their texts, in order."""
    return candidates.texts if isinstance(candidates, UsualCandidates) else [one.text for one in candidates]


def bad_row(row: int, text: str, reason: Reason, detail: str = "") -> BadRow:
    """A bad row in its stored form: without NUL characters, which the database can't store."""
    return BadRow(row, _storable(text), reason, _storable(detail))


def _storable(text: str) -> str:
    return text[:_BAD_TEXT_MAX].replace("\0", "\N{REPLACEMENT CHARACTER}")


def first_of_each(candidates: list[Candidate], bad: list[BadRow]) -> list[Candidate]:
    """Keep the first candidate of each text, and append the others to `bad`."""
    first = {one.text: one for one in reversed(candidates)}
    if len(first) == len(candidates):
        return candidates
    good = []
    for one in candidates:
        if first[one.text] is one:
            good.append(one)
        else:
            bad.append(bad_row(one.row, one.text, "twice_in_file"))
    return good
