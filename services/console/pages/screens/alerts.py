"""The alerts of all programs: what has happened, since when, and what to do."""

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.alerts import ProgramAlert
from schemas.api import Page as ApiPage
from services.console.pages import alert_words
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.list_filters import ListFilters
from services.console.pages.visit import CurrentVisit, PostedForm
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/alerts"
_ROWS: Final = 50


@dataclass(frozen=True)
class AlertFilters(ListFilters):
    """What the page shows."""

    path = _PATH
    rows = _ROWS

    kind: str = ""
    level: str = ""
    cleared: str = ""
    cursor: str = ""


@router.get(_PATH)
async def show_alerts(
    visit: CurrentVisit, kind: str = "", level: str = "", cleared: str = "", cursor: str = "", did: str = ""
) -> Response:
    """Fifty open alerts, or cleared ones, newest first."""
    visit.require("read")
    filters = AlertFilters(kind, level, cleared, cursor)
    found, error = ApiPage[ProgramAlert](items=[], next_cursor=None), ""
    try:
        found = await visit.api.get(_PATH, ApiPage[ProgramAlert], filters.query)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        error = refusal.detail
    return visit.render(
        "screens/alerts.html", status=422 if error else 200, filters=filters, error=error, did=did,
        rows=[alert_words.shown(one) for one in found.items],
        levels=alert_words.levels(), kinds=[("", _("All kinds")), *alert_words.titles()], may_write=visit.may("write"),
        next_url=filters.url(found.next_cursor) if found.next_cursor else "",
        first_url=filters.url() if cursor else "",
    )  # fmt: skip


@router.post(f"{_PATH}/clear")
async def clear_alert(visit: CurrentVisit, form: PostedForm) -> Response:
    """Clear one alert: what it has stopped goes on."""
    which = {"kind": form.text("kind"), "key": form.text("about")}
    await visit.api.send("POST", f"/programs/{part(form.text('program'))}/alerts:clear", which)
    return visit.go(f"{_PATH}?did=cleared")
