"""Builds the answer rows of attached codes, and the assignments that result from them. Pure.

Every way to attach a code builds its answers here: claims, manual attachment, codes made for profiles, and imports.
"""

from datetime import datetime
from uuid import UUID

from codewell.issuing.model import (
    AnswerRow,
    AssignmentKey,
    PooledCode,
    PooledCodeFields,
    RequestEvent,
    assignment_key,
)
from codewell.pool.expiry import earlier_expiry, expiry_when_attached
from codewell.pool.program_rules import ProgramRules


class AnswerBuilder:
    """Appends the answers of one program's codes, attached at one time, to `rows`; adds assignments to `assignments`.

    The constructor computes what all codes of the program share, because `attach` is the hot path of a claim.
    """

    __slots__ = ("_assignments", "_ends", "_now", "_program", "_reuses_codes", "_rows")

    def __init__(
        self,
        program: ProgramRules,
        now: datetime,
        rows: list[AnswerRow],
        assignments: dict[AssignmentKey, PooledCode],
    ) -> None:
        self._program = program
        self._now = now
        self._rows = rows
        self._assignments = assignments
        self._ends = expiry_when_attached(program, now, None)
        self._reuses_codes = program.reuses_codes

    def attach(self, request_id: UUID, ordinal: int, event: RequestEvent, code: PooledCodeFields) -> None:
        """Attach a pooled code to the request's profile. Add an assignment if the program reuses codes.

        `code` is (block id, position, text, expiry in the pool, fields).
        """
        block_id, position, text, expires_at, fields = code
        if self._ends is not None:
            expires_at = earlier_expiry(self._ends, expires_at)
        if self._reuses_codes:
            held = PooledCode(block_id, position, text, expires_at, fields)
            self._assignments[assignment_key(self._program, event)] = held
        self._rows.append(
            # `_make` takes half the time of the constructor, and most answer rows are built here.
            AnswerRow._make(
                (request_id, ordinal, self._program.id, block_id, position, False, False,
                 event.profile_id, text, expires_at, fields, None, self._now)
            )
        )  # fmt: skip

    def attach_again(self, request_id: UUID, ordinal: int, event: RequestEvent, held: PooledCode) -> None:
        """Answer with the code that the profile has already. Its expiry stays the same."""
        self._rows.append(
            AnswerRow._make(
                (request_id, ordinal, self._program.id, held.block_id, held.position, True, False,
                 event.profile_id, held.text, held.expires_at, held.fields, None, self._now)
            )
        )  # fmt: skip
