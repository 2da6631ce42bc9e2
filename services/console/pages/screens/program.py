"""One program: its stock, what it gave and refused, its remote service, and what can be done with it."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.usage.today import today, whole_step
from schemas.alerts import Alert
from schemas.api import Page as ApiPage
from schemas.api import RemoteSecrets, RemoteService
from schemas.audit_log import LogEntry
from schemas.forecast import Forecast
from schemas.overview import ProgramStock, StockLevels
from schemas.reservations import Reservation
from schemas.usage import ProgramUsage
from services.console.pages import alert_words
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.change_words import words_of
from services.console.pages.forecast_words import RunsOutWords, words_of_forecast
from services.console.pages.program_figures import figures_of
from services.console.pages.program_words import circuit_badge, facts_of, source_words, state_badge
from services.console.pages.recent_sign_in import require_recent_sign_in
from services.console.pages.reservation_words import badge_of
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/programs/{name}"
_CHANGES: Final = 5
_ALERTS: Final = 20
_RESERVATIONS: Final = 5


@router.get(_PATH)
async def show_program(visit: CurrentVisit, name: str, did: str = "") -> Response:
    """The program."""
    return await _page(visit, name, did=did)


@router.post(_PATH + "/activate")
async def activate(visit: CurrentVisit, name: str) -> Response:
    """Let the program give codes."""
    await visit.api.send("POST", f"/programs/{part(name)}/activate")
    return visit.go(f"{_url(name)}?did=activated")


@router.post(_PATH + "/deactivate")
async def deactivate(visit: CurrentVisit, name: str) -> Response:
    """Stop the program from making and giving codes."""
    await visit.api.send("POST", f"/programs/{part(name)}/deactivate")
    return visit.go(f"{_url(name)}?did=deactivated")


@router.post(_PATH + "/remove")
async def remove(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Remove the program for good, when its name was typed."""
    if form.text("typed") != name:
        error = _("This is not the short name: type %(name)s.") % {"name": name}
        return await _page(visit, name, status=422, remove_error=error)
    await visit.api.send("DELETE", f"/programs/{part(name)}")
    return visit.go("/programs?did=removed")


@router.post(_PATH + "/clear-alert")
async def clear_alert(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Clear one alert: what it has stopped goes on."""
    which = {"kind": form.text("kind"), "key": form.text("key")}
    await visit.api.send("POST", f"/programs/{part(name)}/alerts:clear", which)
    return visit.go(f"{_url(name)}?did=cleared")


@router.get(_PATH + "/secrets")
async def show_secrets(visit: CurrentVisit, name: str) -> Response:
    """The signing secrets of the remote service; the audit log says that they were shown."""
    await _require_secrets(visit)
    found = await visit.api.get(f"/programs/{part(name)}/remote/secrets", RemoteSecrets)
    return visit.render("screens/secrets.html", name=name, secrets=found.secrets)


@router.post(_PATH + "/rotate-secret")
async def rotate_secret(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Make a new signing secret; requests bear the old one too for a day."""
    await _require_secrets(visit)
    await visit.api.send("POST", f"/programs/{part(name)}/remote/secrets:rotate", key=form.key)
    return visit.go(f"{_url(name)}/secrets")


async def _require_secrets(visit: Visit) -> None:
    visit.require("admin")
    await require_recent_sign_in(visit)


async def _page(
    visit: Visit, name: str, *, status: int = 200, did: str = "", remove_error: str = ""
) -> Response:  # fmt: skip
    shown = await visit.api.get(f"/overview/{part(name)}", ProgramStock)
    usage = await visit.api.get(f"/programs/{part(name)}/usage", ProgramUsage, {"step": "minute"})
    levels = await visit.api.get(f"/overview/{part(name)}/levels", StockLevels)
    service = None
    if shown.circuit is not None:
        service = await visit.api.get(f"/programs/{part(name)}/remote", RemoteService)
    changes = await _changes(visit, name)
    alerts = await visit.api.get(f"/programs/{part(name)}/alerts", ApiPage[Alert], {"limit": _ALERTS})
    reserved = await visit.api.get(
        f"/programs/{part(name)}/reservations", ApiPage[Reservation], {"limit": _RESERVATIONS}
    )
    is_removed = shown.state == "removed"
    begin = today()
    day = {"step": whole_step(begin), "from": begin.isoformat()}
    usage_today = (await visit.api.get(f"/programs/{part(name)}/usage", ProgramUsage, day)).total
    # How many codes each gave in the program's place.
    fallbacks = [
        (link.program, number) for link, number in zip(shown.program.fallback, usage_today.fallbacks, strict=False)
    ]
    return visit.render(
        "screens/program.html", status=status, shown=shown, program=shown.program, service=service,
        usage_today=usage_today,
        state=state_badge(shown.program, shown.state, datetime.now(UTC)), circuit=circuit_badge(shown.circuit),
        source=source_words(shown.program), facts=facts_of(shown.program), did=did, remove_error=remove_error,
        alerts=[alert_words.shown(one) for one in alerts.items],
        reservations=[(badge_of(one.state), one) for one in reserved.items],
        changes=changes, fallbacks=fallbacks,
        figures=figures_of(usage, levels.levels, levels.expected, shown.pooled - shown.reserved, datetime.now(UTC)),
        runs_out=None if is_removed else await _runs_out(visit, name),
        may_write=visit.may("write") and not is_removed, is_removed=is_removed, is_admin=visit.may("admin"),
    )  # fmt: skip


async def _runs_out(visit: Visit, name: str) -> RunsOutWords:
    return words_of_forecast(await visit.api.get(f"/programs/{part(name)}/forecast", Forecast))


async def _changes(visit: Visit, name: str) -> list[tuple[str, LogEntry]]:
    """The last entries of the audit log about the program, each with its words.

    There are none for a person who may not see the log.
    """
    try:
        found = await visit.api.get("/audit-log", ApiPage[LogEntry], {"program": name, "limit": _CHANGES})
    except ApiRefusal as refusal:
        if refusal.status != HTTPStatus.FORBIDDEN:
            raise
        return []
    return [(words_of(entry.verb), entry) for entry in found.items]


def _url(name: str) -> str:
    return f"/programs/{part(name)}"
