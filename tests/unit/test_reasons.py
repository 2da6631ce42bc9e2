"""The one list of reasons: complete, stable in form, and given at each place that refuses a request."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from codewell.codes.state import code_state_reason
from codewell.errors import CodewellError
from codewell.reasons import PROBLEMS, ProblemReason, problem_type
from schemas.events import Reason
from schemas.program import State

ROOT = Path(__file__).parents[2]
# Their class alone says nothing about the reason.
GENERAL = {"ProgramRefused", "CodewellError"}


def calls(*folders: str) -> Iterator[tuple[str, ast.Call]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_word_has_its_row_in_order() -> None:
    assert list(PROBLEMS) == list(get_args(ProblemReason)) == sorted(PROBLEMS)
    assert len({problem_type(reason) for reason in PROBLEMS}) == len(PROBLEMS)


def test_reasons_of_events_mean_the_same_over_http() -> None:
    assert set(get_args(Reason)) <= set(PROBLEMS)


def test_every_state_of_a_code_has_a_reason() -> None:
    assert {code_state_reason(state) for state in get_args(State)} <= set(PROBLEMS)


@pytest.mark.parametrize("reason", PROBLEMS)
def test_a_row_is_a_title_and_a_sentence(reason: ProblemReason) -> None:
    kind = PROBLEMS[reason]
    assert 400 <= kind.status <= 599
    assert not kind.title.endswith(".")
    assert kind.example.endswith(".")
    assert problem_type(reason) == f"/problems/{reason.replace('_', '-')}"


def test_every_refusal_of_the_library_names_its_reason() -> None:
    without = [
        place
        for place, call in calls("codewell")
        if getattr(call.func, "id", "") in GENERAL and "reason" not in {one.arg for one in call.keywords}
    ]
    assert not without, "give reason=, see codewell/reasons.py"


def test_the_console_raises_no_status_without_a_reason() -> None:
    own = "services/console/http/problems.py"
    raised = [
        place
        for place, call in calls("services/console")
        if getattr(call.func, "id", "") == "HTTPException" and not place.startswith(own)
    ]
    assert not raised, "raise HttpProblem, see codewell/reasons.py"


def test_no_refusal_of_a_file_or_of_settings_repeats_a_library() -> None:
    repeated = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("files", "imports", "profiles", "codes", "programs", "issuing", "pool")
        for path in sorted((ROOT / "codewell" / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if re.search(r"\(\{(str\()?error\b(?!\.strerror)", line)
    ]
    assert not repeated, "say it in a sentence of ours"


def test_errors_carry_the_reason_of_their_class_or_their_own() -> None:
    assert CodewellError("Try again.").reason == "unavailable"
    assert CodewellError("Try again.", reason="pool_empty").reason == "pool_empty"
