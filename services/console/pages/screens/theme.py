"""The choice of a theme: a cookie, which the server reads, so that no page flashes in the other one first."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from services.console.pages.visit import CurrentVisit, PostedForm, is_own_path

router = APIRouter(include_in_schema=False)
_THEMES: Final = ("light", "dark", "system")
_YEAR_S: Final = 365 * 86_400


@router.post("/theme")
async def choose_theme(visit: CurrentVisit, form: PostedForm) -> Response:
    """Remember the theme for a year, and show the page again on which it was chosen."""
    back = form.text("back")
    response = visit.go(back if is_own_path(back) else "/programs")
    if (theme := form.text("theme")) in _THEMES:
        response.set_cookie("theme", theme, max_age=_YEAR_S, path="/", httponly=True, samesite="lax")
    return response
