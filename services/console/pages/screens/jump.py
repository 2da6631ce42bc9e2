"""The field of the top bar, which leads to a program or a code. What is typed is in no URL: it may be a code."""

import re
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas import patterns
from schemas.api import Page
from schemas.overview import ProgramOverview
from schemas.program import Program
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.screens import code
from services.console.pages.screens.loyalty import Filters
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _
from services.console.routes.code_searches import CodePrograms

router = APIRouter(include_in_schema=False)
_PATH: Final = "/jump"


@router.get(_PATH)
async def show_search(visit: CurrentVisit) -> Response:
    """The same field as a page."""
    visit.require("read", "redeem", "support")
    return _page(visit)


@router.post(_PATH)
async def jump(visit: CurrentVisit, form: PostedForm) -> Response:
    """The program of this short name, the code of this text, or the list of programs that have these words.

    What is none of them counts as a guess of a code.
    """
    visit.require("read", "redeem", "support")
    words = form.text("to")
    if not words:
        return _page(visit, status=422, error=_("Type a program or paste a code."))
    if visit.may("read") and await _is_program(visit, words):
        return visit.go(f"/programs/{part(words)}")
    try:
        found = CodePrograms.model_validate_json(await visit.api.send("POST", "/codes:find", {"code": words}))
    except ApiRefusal as refusal:
        return await _list(visit, words) or _page(visit, status=refusal.status, error=refusal.detail)
    match found.programs:
        case [name]:
            return await code.open_by_text(visit, name, words)
        case [_, *_]:
            return _page(visit, typed=words, programs=found.programs)
    error = _("No program has these words, and no code has this text: check the spelling.")
    return await _list(visit, words) or _page(visit, status=404, error=error)


async def _is_program(visit: Visit, words: str) -> bool:
    if not re.fullmatch(patterns.SHORT_NAME, words):
        return False
    try:
        await visit.api.get(f"/programs/{part(words)}", Program)
    except ApiRefusal as refusal:
        if refusal.status != 404:
            raise
        return False
    return True


async def _list(visit: Visit, words: str) -> Response | None:
    """The list of the programs that have these words; None without any, so that its URL has no words but theirs."""
    if not visit.may("read"):
        return None
    try:
        found = await visit.api.get("/overview", Page[ProgramOverview], {"search": words, "limit": 1})
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        return None
    return visit.go(Filters(search=words).url()) if found.items else None


def _page(
    visit: Visit, *, status: int = 200, error: str = "", typed: str = "", programs: list[str] | None = None
) -> Response:  # fmt: skip
    return visit.render("screens/jump.html", status=status, error=error, typed=typed, programs=programs or [])
