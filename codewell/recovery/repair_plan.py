"""Plans the repair of answers that the database does not have as published. Pure: it runs no query.

If an answer can't be restored as a whole, its free codes are still reserved for its profile, so that no other profile
gets them. Their request ids are derived from the answer's.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from uuid import UUID, uuid5

from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.issuing.assignment_keys import EVERYBODY
from codewell.issuing.model import AnswerRow, AssignmentKey
from codewell.recovery.reconciliation import MissingAnswer, PublishedAnswer, PublishedCode

_ID_NAMESPACE: Final = UUID("4b1f6f0e-58e7-4d0e-9d44-1c2f5f0a7c11")

_HELD_BY_OTHER: Final = "In the database, another profile has the code."
_GIVEN_BEFORE: Final = "An earlier answer gave the code to another profile."

CaseKind = Literal["lost_answer", "lost_code", "two_answers", "two_profiles"]


class RepairCase(NamedTuple):
    """One difference between Kafka and the database."""

    kind: CaseKind
    place: str
    request_id: UUID
    profile_id: str
    program: str | None
    code: str | None
    can_repair: bool
    detail: str


class KnownProgram(NamedTuple):
    """What a repair has to know of a program. `room` and `on_order` are in codes."""

    id: int
    name: str
    shared: bool
    reuse: str
    room: int
    on_order: int
    codes_from: str


class AssessedCode(NamedTuple):
    """The assessment of one code. `at` is its location, or None if the program does not have it."""

    code: PublishedCode
    program: KnownProgram | None
    at: LocatedCode | None
    how: Literal["attach", "deleted", "again", "take_in", "other", "no"]
    why: str = ""
    asked_id: int | None = None
    """The program that was asked, where the code is from its fallback."""
    random_id: str | None = None
    """The id that the profile has in the database, where it was forgotten since it got the code."""


class RepairPlan:
    """The cases found for some answers, and the changes that restore these."""

    def __init__(self) -> None:
        self.cases: list[RepairCase] = []
        self.rows: list[AnswerRow] = []
        self.attached: list[tuple[int, int]] = []
        self.deleted: list[tuple[int, int]] = []
        """Codes of the pool that were deleted meanwhile: their profiles have them, and they stay deleted."""
        self.taken_in: dict[int, list[str]] = {}
        self.assignments: dict[AssignmentKey, AnswerRow] = {}
        self.given: dict[tuple[int, str], str] = {}

    def is_like(self, other: "RepairPlan") -> bool:
        """Whether both plans lock the same rows."""
        return (self.attached, self.deleted, self.taken_in.keys()) == (
            other.attached, other.deleted, other.taken_in.keys()
        )  # fmt: skip


def assess_code(
    code: PublishedCode,
    program: KnownProgram,
    found: tuple[LocatedCode, CodeFacts] | None,
    profile_id: str,
    first_holder: str | None,
    *,
    is_everybodys: bool,
    random_ids: Collection[str],
) -> AssessedCode:
    """Assess one code that an answer gave to this profile, which has `random_ids` since it was forgotten."""
    if found is None:
        if program.codes_from == "remote" and program.on_order > 0:
            why = f"{program.name} has codes on order: run the generator until it has none, then run this again."
            return AssessedCode(code, program, None, "no", why)
        is_others = first_holder not in {None, profile_id}
        return AssessedCode(code, program, None, "other" if is_others else "take_in", _GIVEN_BEFORE)
    at, facts = found
    if facts.profile_id is not None:
        random_id = facts.profile_id if facts.profile_id in random_ids else None
        is_own = is_everybodys or random_id is not None or facts.profile_id == profile_id
        return AssessedCode(code, program, at, "again" if is_own else "other", _HELD_BY_OTHER, random_id=random_id)
    if first_holder not in {None, profile_id}:
        return AssessedCode(code, program, at, "other", _GIVEN_BEFORE)
    if facts.state != "deleted" and at.position < at.block["next"]:
        return AssessedCode(code, program, at, "no", "The code is used but has no profile: run codewell audit.")
    return AssessedCode(code, program, at, "deleted" if facts.state == "deleted" else "attach")


def plan_answer(
    plan: RepairPlan, one: MissingAnswer, findings: Sequence[AssessedCode], now: datetime, *, is_first: bool
) -> None:
    """Add the cases and changes of one answer to the plan."""
    answer = one.answer
    if answer.refusals is not None or answer.preview:
        if is_first:
            _restore_unchanged(plan, answer, findings, now)
        return
    # An answer with a code of before the profile was forgotten is itself of before that.
    random_id = next((finding.random_id for finding in findings if finding.random_id is not None), None)
    if random_id is not None:
        answer = answer._replace(profile_id=random_id)
    findings = [_after_earlier_answers(plan, finding, answer.profile_id) for finding in findings]
    is_whole = is_first and all(finding.how not in {"other", "no"} for finding in findings)
    for ordinal, finding in enumerate(findings):
        code = finding.code
        if finding.how == "other":
            add_case(plan, "two_profiles", answer, code, finding.why)
        elif finding.how == "no":
            add_case(plan, "lost_answer", answer, code, finding.why)
        elif is_whole:
            add_case(plan, "lost_answer", answer, code, "The answer is missing in the database.", can_repair=True)
            _plan_row(plan, answer, finding, answer.request_id, ordinal, now)
        elif finding.how in {"attach", "take_in"} and not _is_given(plan, finding):
            add_case(plan, "lost_code", answer, code, "The code is reserved for this profile.", can_repair=True)
            _plan_row(plan, answer, finding, uuid5(_ID_NAMESPACE, f"{answer.request_id}/{ordinal}/{code.text}"), 0, now)


def _after_earlier_answers(plan: RepairPlan, finding: AssessedCode, profile_id: str) -> AssessedCode:
    """Return the assessment with the effects of earlier answers in the plan."""
    program = finding.program
    if program is None or finding.how not in {"attach", "take_in", "deleted"}:
        return finding
    holder = plan.given.get((program.id, finding.code.text))
    if holder is not None and holder == profile_id:
        return finding._replace(how="again")
    if holder is not None:
        return finding._replace(how="again" if program.shared else "other", why=_GIVEN_BEFORE)
    if finding.how == "take_in" and program.room <= len(plan.taken_in.get(program.id, ())):
        why = f"{program.name} holds as many codes as it may: raise its maximum, then run this again."
        return finding._replace(how="no", why=why)
    return finding


def _is_given(plan: RepairPlan, finding: AssessedCode) -> bool:
    return finding.program is not None and (finding.program.id, finding.code.text) in plan.given


def _plan_row(
    plan: RepairPlan,
    answer: PublishedAnswer,
    finding: AssessedCode,
    request_id: UUID,
    ordinal: int,
    now: datetime,
) -> None:
    """Plan the row of one code, and its changes in the block."""
    code, program, at = finding.code, finding.program, finding.at
    if program is None:
        raise ValueError("A code of no program can't be given.")
    key = (program.id, code.text)
    again = finding.how == "again"
    row = AnswerRow(
        request_id, ordinal, program.id, at and at.block["id"], at and at.position, again, False, answer.profile_id,
        code.text, code.expires_at, code.fields, None, _answered_at(answer, code.expires_at, now),
        finding.asked_id, code.link,
    )  # fmt: skip
    plan.rows.append(row)
    if again:
        return
    plan.given[key] = answer.profile_id
    if finding.how == "take_in":
        plan.taken_in.setdefault(program.id, []).append(code.text)
    elif at is not None:
        (plan.attached if finding.how == "attach" else plan.deleted).append((at.block["id"], at.position))
    if finding.how != "deleted" and (program.shared or program.reuse == "profile"):
        plan.assignments.setdefault(
            AssignmentKey(program.id, EVERYBODY if program.shared else answer.profile_id, ""), row
        )


def _restore_unchanged(
    plan: RepairPlan, answer: PublishedAnswer, findings: Sequence[AssessedCode], now: datetime
) -> None:
    """Plan the rows of a refusal or preview, which attach no codes."""
    for finding in findings:
        if finding.program is None:
            add_case(plan, "lost_answer", answer, finding.code, finding.why)
            return
    add_case(plan, "lost_answer", answer, None, "The answer is missing in the database.", can_repair=True)
    answered_at = _answered_at(answer, None, now)
    if answer.refusals is not None:
        plan.rows.append(
            AnswerRow(answer.request_id, 0, None, None, None, False, answer.preview, answer.profile_id, None, None,
                      None, answer.refusals, answered_at)
        )  # fmt: skip
    for ordinal, finding in enumerate(findings):
        plan.rows.append(
            AnswerRow(answer.request_id, ordinal, finding.program and finding.program.id, None, None, False, True,
                      answer.profile_id, finding.code.text, finding.code.expires_at, finding.code.fields, None,
                      answered_at)
        )  # fmt: skip


def _answered_at(answer: PublishedAnswer, expires_at: datetime | None, now: datetime) -> datetime:
    """When it was decided; for an answer that does not say so, when it was written, by a clock that may be wrong."""
    latest = now if expires_at is None else min(now, expires_at - timedelta(microseconds=1))
    return min(answer.decided_at or answer.written_at, latest)


def add_case(
    plan: RepairPlan,
    kind: CaseKind,
    answer: PublishedAnswer,
    code: PublishedCode | None,
    detail: str,
    *,
    can_repair: bool = False,
) -> None:
    """Add a finding about an answer, or about one of its codes, to the plan."""
    plan.cases.append(
        RepairCase(
            kind, answer.place, answer.request_id, answer.profile_id, code and code.program, code and code.text,
            can_repair, detail,
        )
    )  # fmt: skip
