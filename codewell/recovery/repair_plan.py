"""What is wrong with answers that the database does not have as they were published, and what can be done about it.

Of an answer that can't be put back whole, those codes that are free are kept for its profile all the same, under a
request id that follows from the answer's: nobody else is to get them. Nothing here asks the database.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID, uuid5

from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.issuing.model import EVERYBODY, AnswerRow, AssignmentKey
from codewell.recovery.reconciliation import MissingAnswer, PublishedAnswer, PublishedCode

_KEPT: Final = UUID("4b1f6f0e-58e7-4d0e-9d44-1c2f5f0a7c11")

_OTHERS: Final = "In the database, another profile has the code."
_BEFORE: Final = "An earlier answer gave the code to another profile."

Kind = Literal["lost_answer", "lost_code", "two_answers", "two_profiles"]


class RepairCase(NamedTuple):
    """One thing that Kafka says and the database does not."""

    kind: Kind
    place: str
    request_id: UUID
    profile_id: str
    program: str | None
    code: str | None
    can_repair: bool
    detail: str


class KnownProgram(NamedTuple):
    id: int
    name: str
    shared: bool
    reuse: str
    room: int
    on_order: int
    codes_from: str


class CodeSpot(NamedTuple):
    """What can be done about one code: `at` is where it is, None where the program does not have it."""

    code: PublishedCode
    program: KnownProgram | None
    at: LocatedCode | None
    how: Literal["attach", "deleted", "again", "take_in", "other", "no"]
    why: str = ""


class RepairPlan:
    """What is found out about some answers, and what putting them back takes."""

    def __init__(self) -> None:
        self.cases: list[RepairCase] = []
        self.rows: list[AnswerRow] = []
        self.attached: list[tuple[int, int]] = []
        self.taken_in: dict[int, list[str]] = {}
        self.assignments: dict[AssignmentKey, AnswerRow] = {}
        self.given: dict[tuple[int, str], str] = {}

    def is_like(self, other: "RepairPlan") -> bool:
        """Whether both lock the same."""
        return self.attached == other.attached and self.taken_in.keys() == other.taken_in.keys()


def spot_of(
    code: PublishedCode,
    program: KnownProgram,
    found: tuple[LocatedCode, CodeFacts] | None,
    profile_id: str,
    first_holder: str | None,
    *,
    is_everybodys: bool,
) -> CodeSpot:
    """What can be done about one code that was given to this profile."""
    if found is None:
        if program.codes_from == "remote" and program.on_order > 0:
            why = f"{program.name} has codes on order: run the generator until it has none, then run this again."
            return CodeSpot(code, program, None, "no", why)
        is_others = first_holder not in {None, profile_id}
        return CodeSpot(code, program, None, "other" if is_others else "take_in", _BEFORE)
    at, facts = found
    if facts.profile_id is not None:
        is_own = is_everybodys or facts.profile_id == profile_id
        return CodeSpot(code, program, at, "again" if is_own else "other", _OTHERS)
    if first_holder not in {None, profile_id}:
        return CodeSpot(code, program, at, "other", _BEFORE)
    if facts.state != "deleted" and at.position < at.block["next"]:
        return CodeSpot(code, program, at, "no", "The code is used but has no profile: run codewell audit.")
    return CodeSpot(code, program, at, "deleted" if facts.state == "deleted" else "attach")


def judge(plan: RepairPlan, one: MissingAnswer, spots: Sequence[CodeSpot], now: datetime, *, is_first: bool) -> None:
    """Add what becomes of one answer to the plan."""
    answer = one.answer
    if answer.refusals is not None or answer.preview:
        if is_first:
            _put_back_as_it_is(plan, answer, spots, now)
        return
    spots = [_with_room(plan, spot, answer.profile_id) for spot in spots]
    is_whole = is_first and all(spot.how not in {"other", "no"} for spot in spots)
    for ordinal, spot in enumerate(spots):
        code = spot.code
        if spot.how == "other":
            add(plan, "two_profiles", answer, code, spot.why)
        elif spot.how == "no":
            add(plan, "lost_answer", answer, code, spot.why)
        elif is_whole:
            add(plan, "lost_answer", answer, code, "The answer is missing in the database.", can_repair=True)
            _give(plan, answer, spot, answer.request_id, ordinal, now)
        elif spot.how in {"attach", "take_in"} and not _is_given(plan, spot):
            add(plan, "lost_code", answer, code, "The code is reserved for this profile.", can_repair=True)
            _give(plan, answer, spot, uuid5(_KEPT, f"{answer.request_id}/{ordinal}/{code.text}"), 0, now)


def _with_room(plan: RepairPlan, spot: CodeSpot, profile_id: str) -> CodeSpot:
    """The same, with what the answers before it in the plan change."""
    program = spot.program
    if program is None or spot.how not in {"attach", "take_in", "deleted"}:
        return spot
    holder = plan.given.get((program.id, spot.code.text))
    if holder is not None and holder == profile_id:
        return spot._replace(how="again")
    if holder is not None:
        return spot._replace(how="again" if program.shared else "other", why=_BEFORE)
    if spot.how == "take_in" and program.room <= len(plan.taken_in.get(program.id, ())):
        why = f"{program.name} holds as many codes as it may: raise its maximum, then run this again."
        return spot._replace(how="no", why=why)
    return spot


def _is_given(plan: RepairPlan, spot: CodeSpot) -> bool:
    return spot.program is not None and (spot.program.id, spot.code.text) in plan.given


def _give(
    plan: RepairPlan, answer: PublishedAnswer, spot: CodeSpot, request_id: UUID, ordinal: int, now: datetime
) -> None:
    """Plan the row of one code, and what it changes in its block."""
    code, program, at = spot.code, spot.program, spot.at
    if program is None:
        raise ValueError("A code of no program can't be given.")
    key = (program.id, code.text)
    again = spot.how == "again"
    row = AnswerRow(
        request_id, ordinal, program.id, at and at.block["id"], at and at.position, again, False, answer.profile_id,
        code.text, code.expires_at, code.fields, None, _answered_at(answer, code.expires_at, now),
    )  # fmt: skip
    plan.rows.append(row)
    if again:
        return
    plan.given[key] = answer.profile_id
    if spot.how == "take_in":
        plan.taken_in.setdefault(program.id, []).append(code.text)
    elif spot.how == "attach" and at is not None:
        plan.attached.append((at.block["id"], at.position))
    if spot.how != "deleted" and (program.shared or program.reuse == "profile"):
        plan.assignments.setdefault(
            AssignmentKey(program.id, EVERYBODY if program.shared else answer.profile_id, ""), row
        )


def _put_back_as_it_is(plan: RepairPlan, answer: PublishedAnswer, spots: Sequence[CodeSpot], now: datetime) -> None:
    """Plan the rows of a refusal or of a preview: they have nobody's codes."""
    for spot in spots:
        if spot.program is None:
            add(plan, "lost_answer", answer, spot.code, spot.why)
            return
    add(plan, "lost_answer", answer, None, "The answer is missing in the database.", can_repair=True)
    answered_at = _answered_at(answer, None, now)
    if answer.refusals is not None:
        plan.rows.append(
            AnswerRow(answer.request_id, 0, None, None, None, False, answer.preview, answer.profile_id, None, None,
                      None, answer.refusals, answered_at)
        )  # fmt: skip
    for ordinal, spot in enumerate(spots):
        plan.rows.append(
            AnswerRow(answer.request_id, ordinal, spot.program and spot.program.id, None, None, False, True,
                      answer.profile_id, spot.code.text, spot.code.expires_at, spot.code.fields, None, answered_at)
        )  # fmt: skip


def _answered_at(answer: PublishedAnswer, expires_at: datetime | None, now: datetime) -> datetime:
    """When it was decided, as far as one can tell: by the clock of whoever answered, which may be wrong."""
    latest = now if expires_at is None else min(now, expires_at - timedelta(microseconds=1))
    return min(answer.written_at, latest)


def add(
    plan: RepairPlan,
    kind: Kind,
    answer: PublishedAnswer,
    code: PublishedCode | None,
    detail: str,
    *,
    can_repair: bool = False,
) -> None:
    plan.cases.append(
        RepairCase(
            kind, answer.place, answer.request_id, answer.profile_id, code and code.program, code and code.text,
            can_repair, detail,
        )
    )  # fmt: skip
