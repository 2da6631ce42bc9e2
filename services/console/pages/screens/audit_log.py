"""The audit log: who did what, when, to which program, and how far its chain is verified."""

import json
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.api import Page as ApiPage
from schemas.audit_log import LogEntry, LogVerification
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.list_filters import ListFilters
from services.console.pages.visit import CurrentVisit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/audit-log"
_ROWS: Final = 50


@dataclass(frozen=True)
class LogFilters(ListFilters):
    """What the page shows."""

    path = _PATH
    rows = _ROWS

    actor: str = ""
    program: str = ""
    verb: str = ""
    since: str = ""
    cursor: str = ""


@router.get(_PATH)
async def show_audit_log(
    visit: CurrentVisit, actor: str = "", program: str = "", verb: str = "", since: str = "", cursor: str = ""
) -> Response:
    """Fifty entries, newest first."""
    visit.require("read")
    filters = LogFilters(actor.strip(), program.strip(), verb.strip(), since, cursor)
    found, error = ApiPage[LogEntry](items=[], next_cursor=None), ""
    try:
        found = await visit.api.get("/audit-log", ApiPage[LogEntry], filters.query)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        error = refusal.detail
    verification = await visit.api.get("/audit-log/verification", LogVerification)
    return visit.render(
        "screens/audit_log.html", status=422 if error else 200, filters=filters, error=error,
        rows=[(entry, _details(entry.details)) for entry in found.items], verification=verification, verbs=_verbs(),
        next_url=filters.url(found.next_cursor) if found.next_cursor else "",
        first_url=filters.url() if cursor else "",
    )  # fmt: skip


def _details(details: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
                     for name, value in details.items())  # fmt: skip


def _verbs() -> list[tuple[str, str]]:
    """The groups of actions to choose from, with their words."""
    return [
        ("", _("All actions")), ("program", _("Programs")), ("code", _("Codes")), ("import", _("Imports")),
        ("profile", _("Profiles")), ("secret", _("Secrets")), ("token", _("Tokens")), ("session", _("Sessions")),
        ("dlq", _("Dead letters")),
    ]  # fmt: skip
