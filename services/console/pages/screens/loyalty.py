"""The list of programs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.programs import drafts
from codewell.programs.drafts import Draft
from schemas.api import Page as ApiPage
from schemas.forecast import ProgramForecast
from schemas.overview import ProgramOverview
from schemas.program import Program
from schemas.usage import UsageSummaries, UsageSummary
from services.console.pages import draft_desk, scope_words
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.list_filters import ListFilters
from services.console.pages.program_words import Badge, circuit_badge, source_words, state_badge
from services.console.pages.visit import CurrentVisit, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
ROWS: Final = 50
# When the list says that a program runs out of codes.
_SOON: Final = timedelta(days=30)
_PATH: Final = "/programs"
_DRAFT: Final = "draft"


@dataclass(frozen=True)
class Filters(ListFilters):
    """What the list shows."""

    path = _PATH
    rows = ROWS

    search: str = ""
    state: str = ""
    group: str = ""
    cursor: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return not (self.search or self.state or self.group)


@dataclass(frozen=True)
class Row:
    """A program in the list. `usage` None: it has not been read."""

    program: Program
    state: Badge
    source: str
    circuit: Badge | None
    pooled: int
    made: int
    on_order: int
    alerts: int
    usage: UsageSummary | None
    runs_out_at: datetime | None
    """When it runs out of codes, if that is soon."""


@router.get("/")
async def go_home(visit: CurrentVisit) -> Response:
    """The first page is the list of programs."""
    return visit.go(_PATH)


@router.get(_PATH)
async def list_programs(
    visit: CurrentVisit, search: str = "", state: str = "", group: str = "", cursor: str = "", did: str = ""
) -> Response:
    """Fifty programs, by name, and the person's drafts.

    A person who may look codes up and not list programs gets the field for that; one who may do neither, what they
    may do.
    """
    if not visit.may("read"):
        if visit.may("redeem", "support"):
            return visit.go("/jump")
        return visit.render("screens/scopes.html", scopes=scope_words.meanings(), did=did)
    filters = Filters(search.strip(), state, group.strip(), cursor)
    kept = await _drafts(visit, filters)
    if filters.state == _DRAFT:
        return _page(visit, filters, [], kept, did)
    try:
        found = await visit.api.get("/overview", ApiPage[ProgramOverview], filters.query)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        return _page(visit, filters, [], kept, did, error=refusal.detail)
    names = [one.program.name for one in found.items]
    usage, runs_out = await _usage(visit, names), await _running_out(visit, names)
    now = datetime.now(UTC)
    rows = [_row(one, usage.get(one.program.name), runs_out.get(one.program.name), now) for one in found.items]
    return _page(visit, filters, rows, kept, did, next_url=filters.url(found.next_cursor) if found.next_cursor else "")


async def _drafts(visit: Visit, filters: Filters) -> list[Draft]:
    """The person's drafts, which stand before the whole list, and by themselves."""
    is_whole = filters.is_empty and not filters.cursor
    if not visit.may("write") or not (is_whole or filters.state == _DRAFT):
        return []
    async with visit.here.pool.acquire() as connection:
        return await drafts.unfinished(connection, draft_desk.owner_of(visit))


def _page(
    visit: Visit, filters: Filters, rows: list[Row], kept: list[Draft], did: str, *, next_url: str = "", error: str = ""
) -> Response:
    states = [
        ("", _("All states")), ("active", _("active")), ("not started", _("not started")), ("ended", _("ended")),
        ("off", _("off")), *([(_DRAFT, _("draft"))] if visit.may("write") else []),
    ]  # fmt: skip
    return visit.render(
        "screens/loyalty.html", status=422 if error else 200, rows=rows, filters=filters, states=states, error=error,
        drafts=kept, did=did,
        groups=[(one, one) for one in sorted(visit.session.caller.groups)], may_write=visit.may("write"),
        next_url=next_url, first_url=filters.url() if filters.cursor else "",
        live_query=urlencode({"program": [row.program.name for row in rows]}, doseq=True),
    )  # fmt: skip


async def _usage(visit: Visit, names: list[str]) -> dict[str, UsageSummary]:
    if not names:
        return {}
    found = await visit.api.get("/usage", UsageSummaries, {"limit": ROWS, "name": names})
    return {one.program: one for one in found.items}


async def _running_out(visit: Visit, names: list[str]) -> dict[str, datetime]:
    """When those of these programs run out that do so soon and while they are valid."""
    if not names:
        return {}
    found = await visit.api.get("/forecasts", ApiPage[ProgramForecast], {"limit": ROWS, "name": names})
    until = datetime.now(UTC) + _SOON
    runs_out = {one.program: one.runs_out_at.p50 for one in found.items if one.cause != "validity_end"}
    return {name: at for name, at in runs_out.items() if at is not None and at < until}


def _row(
    one: ProgramOverview, usage: UsageSummary | None, runs_out_at: datetime | None, now: datetime
) -> Row:  # fmt: skip
    program = one.program
    return Row(
        program=program, state=state_badge(program, one.state, now), source=source_words(program),
        circuit=circuit_badge(one.circuit), pooled=one.pooled, made=one.made + one.imported, on_order=one.on_order,
        alerts=one.alerts, usage=usage, runs_out_at=runs_out_at,
    )  # fmt: skip
