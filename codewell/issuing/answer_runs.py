"""Answers of many programs as columns. Beside `Run` and `AgainRun`, which are of one program each."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from codewell.issuing.model import AgainRun, AnswerRow, Run


class GivingBlock(NamedTuple):
    """What the codes share that a claim gives from one block."""

    program_id: int
    block_id: int
    expires_at: datetime | None
    fields: str | None
    before: str
    """What is before a code's text in an answer, and after it (`reply.around`)."""
    after: str


class MixedRun(NamedTuple):
    """Codes of many blocks that plain requests got, as columns in the order of the requests."""

    ids: Sequence[UUID]
    profile_ids: Sequence[str]
    ends: Sequence[int]
    """How many of `codes` there are up to each request's last one: a request has as many as it names programs."""
    codes: Sequence[tuple[int, int, str]]
    """(place in `blocks`, position, text)."""
    blocks: Sequence[GivingBlock]
    answered_at: datetime

    def answer(self, number: int) -> list[AnswerRow]:
        """The rows of one request, by its number in the columns."""
        rows = []
        for ordinal, (place, position, text) in enumerate(self.codes_of(number)):
            block = self.blocks[place]
            rows.append(AnswerRow(
                self.ids[number], ordinal, block.program_id, block.block_id, position, False, False,
                self.profile_ids[number], text, block.expires_at, block.fields, None, self.answered_at,
            ))  # fmt: skip
        return rows

    def codes_of(self, number: int) -> Sequence[tuple[int, int, str]]:
        """Those of one request."""
        return self.codes[self.ends[number - 1] if number else 0 : self.ends[number]]

    def counts(self) -> list[int]:
        """How many codes each request got."""
        return [end - before for before, end in zip((0, *self.ends), self.ends, strict=False)]


class RefusedRun(NamedTuple):
    """Plain requests that are refused for the same reasons, as columns in their order."""

    ids: Sequence[UUID]
    profile_ids: Sequence[str]
    refusals: str
    """JSON text."""
    answered_at: datetime

    def answer(self, number: int) -> list[AnswerRow]:
        """The row of one request, by its number in the columns."""
        return [
            AnswerRow(
                self.ids[number], 0, None, None, None, False, False, self.profile_ids[number], None, None, None,
                self.refusals, self.answered_at,
            )
        ]  # fmt: skip


AnyRun: TypeAlias = Run | AgainRun | MixedRun | RefusedRun


def run_rows(run: AnyRun) -> Iterator[AnswerRow]:
    """All rows of a run."""
    for number in range(len(run.ids)):
        yield from run.answer(number)
