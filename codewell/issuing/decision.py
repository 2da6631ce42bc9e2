"""What a claim decided."""

from collections import Counter
from typing import NamedTuple

from codewell.issuing.answer_runs import AnyRun
from codewell.issuing.model import AnswerRow, AssignmentKey, PooledCode, Request, Run
from codewell.pool.program_rules import Source
from codewell.usage.usage_key import UsageKey


class Decision(NamedTuple):
    """Writes of a claim, and the requests that it could not decide yet."""

    rows: list[AnswerRow]
    """Without those of `runs`."""
    runs: list[AnyRun]
    taken: dict[int, tuple[int, int]]
    """Block id -> (position after the last given code, codes given)."""
    assignments: dict[AssignmentKey, PooledCode]
    """New assignments: the code that each key gets from now on. Without those of `runs` with a scope."""
    busy: dict[int, list[int]]
    """Program id -> indexes of requests whose remaining codes are all locked by other workers."""
    unmade: dict[tuple[int, Source], list[int]]
    """(program id, source) -> indexes of requests for which the claim may make codes itself."""
    ordered: list[int]
    """Indexes of requests that wait for codes from a remote service, or from the generator."""
    redirected: dict[int, Request]
    """Index -> the request with the fallbacks that it tries next."""
    usage: Counter[UsageKey]
    """Codes given and programs that refused, without previews: to be counted once the decision is committed."""
    fallbacks: Counter[tuple[int, int]]
    """(id of the asked program, number of the link) -> rows with a code of that fallback."""

    reserved: dict[int, tuple[int, int, str]]
    """As `taken`, for blocks of reservations, with the campaign or scenario whose requests got the codes."""
    busy_reserved: dict[int, list[int]]
    """Reservation id -> indexes of requests whose reserved codes are all locked by other workers."""

    @property
    def assigned_runs(self) -> list[Run]:
        """The runs whose codes are assigned to their profiles."""
        return [run for run in self.runs if isinstance(run, Run) and run.scope is not None]

    @classmethod
    def empty(cls) -> "Decision":
        """A decision to add to."""
        return cls([], [], {}, {}, {}, {}, [], {}, Counter(), Counter(), {}, {})
