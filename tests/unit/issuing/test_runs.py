"""Plain requests are decided as columns: what follows is what the same requests give one by one."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.issuing import copy_answers, runs
from codewell.issuing.answer_runs import MixedRun, RefusedRun, run_rows
from codewell.issuing.decide import decide
from codewell.issuing.decision import Decision
from codewell.issuing.model import AnswerRow, AssignmentKey, LockedStock, Lot, PooledCode, Request, Run
from codewell.issuing.reply import answer_event, plain_answers
from codewell.pool.program_rules import ProgramRules
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import plain_renders, plain_steps
from tests.support.factories import NOW, message, rules, step

PROGRAMS = {
    1: rules("A", id=1, ttl=timedelta(days=1), ttl_from="attachment"),
    2: rules("B", id=2),
    3: rules("REUSES", id=3, reuse="profile"),
    4: rules("CLOSED", id=4, active=False),
    5: rules("EMPTY", id=5, fallback='[["B"], ["pool_empty"], null]'),
    6: rules("ENDED", id=6, valid_until=NOW, ttl=timedelta(days=1)),
    7: rules("SHARED", id=7, shared=True, min_life_at_attach=timedelta(days=2)),
}
REUSES, SHARED = 3, 7
NAMES = {id_: program.name for id_, program in PROGRAMS.items()} | {99: "UNKNOWN"}
profiles = st.sampled_from(["p-1", "p-2", 'Zoë "😀"', "</script>"])
names = st.sampled_from(list(NAMES.values()))
asked = st.one_of(
    st.builds(step, names, profile_id=profiles, preview=st.booleans()),
    st.builds(
        lambda programs, **data: message(*programs, **data),
        st.lists(names, min_size=1, max_size=3),
        profile_id=profiles,
        preview=st.booleans(),
        template=st.sampled_from([None, None, "{loyalty.A.promocode}"]),
    ),
)


def plain(request: Request) -> Request:
    """The request as the issuer reads it, most of them without pydantic."""
    event = request.event
    assert isinstance(event, MessageRender | ScenarioStep)
    read = plain_renders if isinstance(event, MessageRender) else plain_steps
    [found] = read([event.model_dump_json().encode()])
    return request if found is None else request._replace(event=found)


def stock(id_: int, left: int) -> LockedStock:
    """Two blocks, the first of which has holes and codes with an expiry and fields of their own."""
    first = min(3, left)
    lots = [
        Lot(10 * id_, [5, 7, 8][:first], ["Å-5", "B-7", "C-8"][:first], NOW + timedelta(hours=2), '{"discount": "10"}'),
        Lot(10 * id_ + 1, range(left - first), [f"D-{number}" for number in range(left - first)], None, None),
    ]
    return LockedStock([lot for lot in lots if lot.positions], elsewhere=0)


Held = dict[AssignmentKey, PooledCode]


def rows_of(decision: Decision) -> list[AnswerRow]:
    return [*decision.rows, *(row for run in decision.runs for row in run_rows(run))]


def assigned_by_runs(decision: Decision) -> Held:
    """The assignments that are not in the decision's, as they are stored from the answers of runs."""
    return {
        AssignmentKey(run.program_id, profile_id, run.scope or ""): PooledCode(
            run.block_id, position, text, run.expires_at, run.fields
        )
        for run in decision.assigned_runs
        for profile_id, position, text in zip(run.profile_ids, run.positions, run.texts, strict=True)
    }


def decided(requests: list[Request], left: int, held: Held) -> tuple[Decision, dict[int, LockedStock]]:
    stocks = {id_: stock(id_, 0 if id_ == 5 else left) for id_ in PROGRAMS}
    programs: dict[str, ProgramRules] = {program.name: program for program in PROGRAMS.values()}
    return decide(requests, programs, stocks, held, NOW, lambda program, _: f"PREVIEW-{program.name}"), stocks


@given(
    st.lists(asked, max_size=8),
    st.integers(0, 9),
    st.sampled_from([None, timedelta(0), timedelta(days=1)]),
    st.sampled_from([1, 2, runs.RUN_MIN]),
)
def test_columns_give_what_one_by_one_gives(
    requests: list[Request], left: int, life: timedelta | None, run_min: int
) -> None:
    held: Held = {}
    if life is not None:
        held[AssignmentKey(REUSES, "p-1", "")] = PooledCode(9, 9, "HELD", NOW + life, None)
        held[AssignmentKey(SHARED, "", "")] = PooledCode(9, 8, "SHARED", NOW + life, None)
    one_by_one, _ = decided(requests, left, held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_MIN", run_min)
        columns, stocks = decided([plain(request) for request in requests], left, held)

    rows = rows_of(columns)
    # Which of a program's codes a request gets does not matter.
    assert Counter(row[3:5] + row[8:12] for row in rows if row[2] != REUSES) == Counter(
        row[3:5] + row[8:12] for row in one_by_one.rows if row[2] != REUSES
    )
    kept: Any = [0, 1, 2, 5, 6, 7, 11, 12]
    assert Counter(tuple(row[at] for at in kept) for row in rows) == Counter(
        tuple(row[at] for at in kept) for row in one_by_one.rows
    )
    assigned = columns.assignments | assigned_by_runs(columns)
    assert assigned.keys() == one_by_one.assignments.keys()
    for row in rows:
        if row.program_id == REUSES and not row.preview:
            code = PooledCode(row.block_id or 0, row.position or 0, row.code or "", row.expires_at, row.fields)
            key = AssignmentKey(REUSES, row.profile_id, "")
            assert (assigned.get(key) or held[key]) == code
    given = [row[3:5] for row in rows if row.block_id is not None and not row.again]
    assert len(set(given)) == len(given)
    assert columns.taken == one_by_one.taken
    assert columns.usage == one_by_one.usage
    assert {at: one.as_asked.id for at, one in columns.redirected.items()} == {
        at: one.as_asked.id for at, one in one_by_one.redirected.items()
    }
    assert (columns.unmade, columns.ordered, columns.busy) == (one_by_one.unmade, one_by_one.ordered, one_by_one.busy)
    assert {id_: one.taken for id_, one in stocks.items()} == {
        id_: sum(given for block, (_, given) in columns.taken.items() if block // 10 == id_) for id_ in stocks
    }
    by_id = {request.id: request for request in requests}
    # Requests of several runs take turns in a batch.
    places = sorted(
        ((run, number) for run in columns.runs for number in range(len(run.ids))), key=lambda place: place[1]
    )
    made = plain_answers(places, NAMES)
    for (run, number), request_id, profile_id, (event_type, decided_at), data in zip(places, *made, strict=True):
        [row, *_] = rows = run.answer(number)
        assert (request_id, profile_id, decided_at) == (str(row.request_id), row.profile_id, row.answered_at)
        assert (event_type, data) == answer_event(by_id[row.request_id], rows, NAMES)


@given(st.lists(asked, min_size=1, max_size=8), st.booleans(), st.sampled_from([1, runs.RUN_MIN]))
def test_columns_are_stored_as_rows_are(requests: list[Request], links: bool, run_min: int) -> None:
    held = {AssignmentKey(REUSES, "p-1", ""): PooledCode(9, 7, "É", NOW + timedelta(days=1), '{"discount": "5"}')}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_MIN", run_min)
        decision, _ = decided([plain(request) for request in requests], 9, held)
    rows = sorted(rows_of(decision), key=lambda row: row[:2])

    ordered = sorted(decision.rows, key=lambda row: row[:2])
    assert copy_answers.encode(ordered, decision.runs, links=links) == copy_answers.encode(rows, links=links)


def test_most_requests_are_decided_as_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_MIN", 2)
    asked = [message("A"), step("B"), message("A"), message("ENDED", "A"), message("B", "A"), step("UNKNOWN")]
    requests = list(map(plain, asked))

    decision, _ = decided(requests, 9, {})

    assert [(type(run), [requests.index(one) for one in requests if one.id in run.ids]) for run in decision.runs] == [
        (RefusedRun, [3]), (RefusedRun, [5]), (Run, [0, 2]), (MixedRun, [1, 4]),
    ]  # fmt: skip
    assert decision.rows == []


def test_requests_to_a_program_that_reuses_codes_are_too() -> None:
    requests = [plain(message("REUSES", profile_id=profile_id)) for profile_id in ("p-1", "p-2", "p-1", "p-3")]
    held = {
        AssignmentKey(REUSES, "p-2", ""): PooledCode(9, 7, "HELD", None, None),
        AssignmentKey(REUSES, "p-3", ""): PooledCode(9, 8, "EXPIRED", NOW, None),
    }

    decision, _ = decided(requests, 9, held)

    assert [[(row.profile_id, row.again) for row in run_rows(run)] for run in decision.runs] == [
        [("p-2", True)],
        [("p-1", False)],
    ]
    assert [(row.profile_id, row.again) for row in decision.rows] == [("p-1", True), ("p-3", False)]


def test_new_profiles_of_one_scope_are_assigned_by_their_runs() -> None:
    [first, *_] = new = [plain(message("REUSES", profile_id=f"p-{number}")) for number in range(6)]
    other, step_too = plain(message("A")), plain(step("REUSES", profile_id="p-9"))

    def scopes(*requests: Request, left: int = 9, skipped: int = 3, reuse: str = "profile") -> list[str | None]:
        own = rules("REUSES", id=REUSES, reuse=reuse)
        stocks = {id_: stock(id_, left + skipped) for id_ in PROGRAMS}
        for _ in range(skipped):
            stocks[REUSES].take()
        programs: dict[str, ProgramRules] = {program.name: program for program in (*PROGRAMS.values(), own)}
        decision = decide(list(requests), programs, stocks, {}, NOW, lambda *_: "")
        assert len(decision.assignments) + len(assigned_by_runs(decision)) == len(requests) - requests.count(other)
        return [run.scope for run in decision.runs if isinstance(run, Run)]

    assert scopes(*new) == [""]
    assert scopes(*new, other) == [""]
    assert scopes(*new, reuse="campaign") == ["campaign:spring"]
    elsewhere = plain(message("REUSES", campaign_id="autumn", profile_id="p-7"))
    assert scopes(*new, elsewhere, reuse="campaign") == [None]
    # Two statements could wait for those of another claim in turn.
    assert scopes(*new, step_too) == [None, None]
    # Positions between these are of other answers.
    assert scopes(*new, skipped=0) == [None, None]
    # Another request of the profile has to find the code.
    assert len(decided([*new, first._replace(id=message("A").id)], 9, {})[0].assignments) == len(new)


@pytest.mark.parametrize("kinds", list(product(["message", "step", "two programs"], repeat=3)))
def test_the_first_request_of_a_new_profile_gets_the_code_that_the_others_get_again(kinds: tuple[str, ...]) -> None:
    made: dict[str, Callable[[], Request]] = {
        "message": lambda: plain(message("REUSES")),
        "step": lambda: plain(step("REUSES")),
        "two programs": lambda: message("REUSES", "B"),
    }
    requests = [made[kind]() for kind in kinds]

    decision, _ = decided(requests, 9, {})

    answers = {row.request_id: row for row in rows_of(decision) if row.program_id == REUSES}
    assert [answers[request.id].again for request in requests] == [False, True, True]
    assert len({row.code for row in answers.values()}) == 1


def test_codes_of_several_programs_are_stored_in_the_order_of_requests_and_names() -> None:
    requests = [plain(one) for one in (message("B", "A"), message("A"), message("A", "B"))]

    decision, _ = decided(requests, 9, {})

    [run] = decision.runs
    rows = [row for request in requests for row in run_rows(run) if row.request_id == request.id]
    assert [(row.ordinal, NAMES[row.program_id or 0]) for row in rows] == [
        (0, "B"),
        (1, "A"),
        (0, "A"),
        (0, "A"),
        (1, "B"),
    ]
    assert copy_answers.encode([], [run], links=False) == copy_answers.encode(rows, links=False)
