"""The outcome of a claim."""

from collections.abc import Iterable
from itertools import count, repeat
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

from codewell.issuing.answer_runs import AnyRun
from codewell.issuing.model import AnswerRow, Request
from codewell.pool.demand import LowPool

_BYTES: Final = attrgetter("bytes")


class ClaimResult(NamedTuple):
    """Outcome of a batch."""

    rows: dict[UUID, list[AnswerRow]]
    """Request id -> the rows of its stored answer, by ordinal. Without those of `given`."""
    given: dict[bytes, tuple[AnyRun, int]]
    """Id of a plain request, as its 16 bytes, which are hashed sooner -> the run with its answer, and its number."""
    waiting: list[Request]
    """Undecided requests. Their program's blocks or row stayed locked for longer than a batch may wait, or a remote
    service or the generator has to deliver their codes; `wait` says for how long."""
    low: dict[int, LowPool]
    """Pools by program id that are below their mark and may be filled."""
    undecidable: dict[UUID, str]
    """Request id -> why the database refuses to store it. `Claims.attach` leaves it empty and raises."""

    def add_runs(self, runs: Iterable[AnyRun]) -> None:
        """Add what plain requests got."""
        for run in runs:
            self.given.update(zip(map(_BYTES, run.ids), zip(repeat(run), count()), strict=False))

    def rows_of(self, request_id: UUID) -> list[AnswerRow] | None:
        """The rows of the request's stored answer, by ordinal; None for an undecided request."""
        place = self.given.get(request_id.bytes)
        if place is None:
            return self.rows.get(request_id)
        run, number = place
        return run.answer(number)

    def joined(self, other: "ClaimResult") -> "ClaimResult":
        """The merged outcome of two batches."""
        return ClaimResult(
            self.rows | other.rows,
            self.given | other.given,
            self.waiting + other.waiting,
            self.low | other.low,
            self.undecidable | other.undecidable,
        )
