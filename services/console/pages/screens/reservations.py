"""Reservations of a program: the list, the form with the figures of its dry run, and the release."""

import re
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.reasons import ProblemReason
from schemas.api import Page as ApiPage
from schemas.overview import ProgramStock
from schemas.reservations import Availability, Reservation, ReservationAnswer
from services.console.pages import forms
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.numbers import whole_number
from services.console.pages.reservation_words import LIMITS, STATES, badge_of
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(prefix="/programs/{name}/reservations", include_in_schema=False)
_ROWS: Final = 50
_LABELS: Final = {
    "campaign_id": _("Campaign or scenario"),
    "count": _("Number of codes"),
    "until": _("Until"),
    "send_at": _("Sent at"),
}
# The field of the form at which a refusal stands.
_PLACES: Final[dict[ProblemReason, str]] = {
    "reservation_short": "count",
    "reservation_too_long": "until",
    "reservation_exists": "campaign_id",
}
# In the sentences of the API.
_TIMES: Final = re.compile(r"\b(?:until|send_at)\b")
_Errors = dict[str, tuple[str, str]]


@router.get("")
async def show_reservations(visit: CurrentVisit, name: str, did: str = "", cursor: str | None = None) -> Response:
    """A page of the reservations, and the form."""
    return await _page(visit, name, {}, {}, forms.new_key(), did=did, cursor=cursor)


@router.post("")
async def reserve(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Reserve codes once for the form's key; or, with the button *Check*, say what that would do."""
    visit.require("write")
    key, values = form.key, dict(form.items())
    count = whole_number(form.text("count"))
    if count is None or count < 1:
        errors = {"count": (_LABELS["count"], _("Give a whole number from 1, such as 10,000."))}
        return await _page(visit, name, values, errors, key)
    try:
        if form.is_on("check"):
            at = {"at": form.text("send_at")} if form.text("send_at") else {}
            path = f"/programs/{part(name)}/availability"
            availability = await visit.api.get(path, Availability, {"count": count, **at})
            return await _page(visit, name, values, {}, key, availability=availability)
        answer = await visit.api.send("POST", f"/programs/{part(name)}/reservations", _body(values, count), key=key)
    except ApiRefusal as refusal:
        if refusal.status in {401, 403, 404}:
            raise
        # Nothing was done. A refusal is stored under its key; what failed for now may be sent again as it is.
        key = key if refusal.status >= 500 else forms.new_key()
        return await _page(visit, name, values, _errors(refusal), key)
    made = ReservationAnswer.model_validate_json(answer)
    return visit.go(f"/programs/{part(name)}/reservations?did={'part' if made.shortfall else 'reserved'}")


@router.post("/release")
async def release(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """End one reservation."""
    visit.require("write")
    id_ = whole_number(form.text("id")) or 0
    await visit.api.send("POST", f"/programs/{part(name)}/reservations/{id_}:release")
    return visit.go(f"/programs/{part(name)}/reservations?did=released")


def _body(values: Mapping[str, str], count: int) -> dict[str, object]:
    scope = "scenario_id" if values.get("for") == "scenario" else "campaign_id"
    return {
        scope: values.get("campaign_id", "").strip(), "count": count, "until": values.get("until", ""),
        "send_at": values.get("send_at") or None, "partial": "partial" in values,
        "overflow": "refuse" if values.get("overflow") == "refuse" else "pool",
    }  # fmt: skip


def _errors(refusal: ApiRefusal) -> _Errors:
    """Each sentence of a refusal at its field."""
    place = next((place for reason, place in _PLACES.items() if reason == refusal.reason), "")
    if place or not refusal.errors:
        place = next(map(_field, refusal.errors), place)
        is_of_times = refusal.reason == "reservation_too_long"
        words = _TIMES.sub(lambda found: f"“{_LABELS[found[0]]}”", refusal.detail) if is_of_times else refusal.detail
        return {place: (_LABELS.get(place, ""), words)}
    return {
        name: (_LABELS.get(name, ""), f"{_LABELS.get(name, name)} {words}.")
        for name, words in ((_field(pointer), words) for pointer, words in refusal.errors.items())
    }


def _field(pointer: str) -> str:
    return {"scenario_id": "campaign_id", "at": "send_at"}.get(pointer, pointer)


async def _page(
    visit: Visit, name: str, values: Mapping[str, str], errors: _Errors, key: str, *,
    availability: Availability | None = None, did: str = "", cursor: str | None = None,
) -> Response:  # fmt: skip
    now = await visit.api.get(f"/overview/{part(name)}", ProgramStock)
    path = f"/programs/{part(name)}/reservations"
    found = await visit.api.get(path, ApiPage[Reservation], {"limit": _ROWS, "ended": True, "cursor": cursor})
    return visit.render(
        "screens/reservations.html", status=422 if errors else 200, now=now, program=now.program, values=values,
        errors=errors, key=key, availability=availability, did=did,
        limit=LIMITS.get(availability.limit or "", "") if availability else "",
        reservations=[(badge_of(one.state), one) for one in found.items], states=STATES,
        next_cursor=found.next_cursor, cursor=cursor,
        may_write=visit.may("write") and now.state != "removed",
    )  # fmt: skip
