"""Builds the answer rows of attached codes, and the assignments that result from them. Pure.

Every way to attach a code builds its answers here: claims, manual attachment, codes made for profiles, and imports.
"""

from collections import Counter
from datetime import datetime
from uuid import UUID

from codewell.issuing.assignment_keys import assignment_key
from codewell.issuing.fallbacks import Link
from codewell.issuing.model import AnswerRow, AssignmentKey, PooledCode, PooledCodeFields, RequestEvent
from codewell.pool.expiry import earlier_expiry, expiry_when_attached
from codewell.pool.program_rules import ProgramRules, Source
from codewell.usage.usage_key import UsageKey


class AnswerBuilder:
    """Appends the answers of one program's codes, attached at one time, to `rows`; adds assignments to `assignments`.

    The constructor computes what all codes of the program share, because `attach` is the hot path of a claim.
    """

    __slots__ = (
        "_asked_id", "_assignments", "_ends", "_link", "_now", "_program", "_reuses_codes", "_rows", "attached",
        "reused",
    )  # fmt: skip

    def __init__(
        self,
        program: ProgramRules,
        now: datetime,
        rows: list[AnswerRow],
        assignments: dict[AssignmentKey, PooledCode],
        link: Link | None = None,
    ) -> None:
        """`link`: the fallback that the program is."""
        self._program = program
        self._asked_id = None if link is None else link.asked_id
        self._link = None if link is None else link.number
        self._now = now
        self._rows = rows
        self._assignments = assignments
        self._ends = expiry_when_attached(program, now, None)
        self._reuses_codes = program.reuses_codes
        self.attached = 0
        """How many codes were attached."""
        self.reused = 0
        """How many answers have a code that its profile had already."""

    def count(self, source: Source) -> Counter[UsageKey]:
        """The usage of this builder's answers, all of one source."""
        id_ = self._program.id
        counts = {"attached": self.attached, "reused": self.reused}
        return Counter({UsageKey(id_, source, outcome): number for outcome, number in counts.items() if number})

    def attach(
        self, request_id: UUID, ordinal: int, event: RequestEvent, code: PooledCodeFields,
        key: AssignmentKey | None = None,
    ) -> None:  # fmt: skip
        """Attach a pooled code to the request's profile. Add an assignment if the program reuses codes.

        `code` is (block id, position, text, expiry in the pool, fields); `key` is the assignment's, where it is known.
        """
        self.attached += 1
        block_id, position, text, expires_at, fields = code
        if self._ends is not None:
            expires_at = earlier_expiry(self._ends, expires_at)
        if self._reuses_codes:
            held = PooledCode(block_id, position, text, expires_at, fields)
            self._assignments[key or assignment_key(self._program, event)] = held
        self._rows.append(
            # `_make` takes half the time of the constructor, and most answer rows are built here.
            AnswerRow._make(
                (request_id, ordinal, self._program.id, block_id, position, False, False,
                 event.profile_id, text, expires_at, fields, None, self._now, self._asked_id, self._link)
            )
        )  # fmt: skip

    def attach_again(self, request_id: UUID, ordinal: int, event: RequestEvent, held: PooledCode) -> None:
        """Answer with the code that the profile has already. Its expiry stays the same."""
        self.reused += 1
        self._rows.append(
            AnswerRow._make(
                (request_id, ordinal, self._program.id, held.block_id, held.position, True, False,
                 event.profile_id, held.text, held.expires_at, held.fields, None, self._now, self._asked_id, self._link)
            )
        )  # fmt: skip
