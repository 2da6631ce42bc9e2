"""The page of each problem's `type`, for people who follow it; it needs no token."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from codewell.reasons import PROBLEMS, problem_type
from services.console.http.problems import HttpProblem

router = APIRouter(prefix="/problems", include_in_schema=False)

_PAGES: Final = {
    problem_type(reason).rpartition("/")[2]: (
        f"{kind.title}\n\nreason: {reason}\nstatus: {kind.status}\n"
        f"what to do, as the detail of a problem says it:\n  {kind.example}\n\nAll problems: /problems\n"
    )
    for reason, kind in PROBLEMS.items()
}
_INDEX: Final = "".join(
    f"{problem_type(reason)}  {kind.status}  {kind.title}\n" for reason, kind in sorted(PROBLEMS.items())
)


@router.get("")
async def list_problems() -> PlainTextResponse:
    """List all kinds of problems: path, status and title, one a line."""
    return PlainTextResponse(_INDEX)


@router.get("/{kind}")
async def show_problem(kind: str) -> PlainTextResponse:
    """Describe a kind of problem."""
    if kind not in _PAGES:
        raise HttpProblem("path_unknown", PROBLEMS["path_unknown"].example)
    return PlainTextResponse(_PAGES[kind])
