"""Change all codes that Browse's filter finds: counts first, then a change that goes on by itself, and its undo."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from schemas.api import Page
from schemas.changes import BulkChange, BulkCounts
from schemas.overview import ProgramStock
from services.console.pages import forms
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.bulk_words import CHANGE_STATES, filter_words, skipped_words
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(prefix="/programs/{name}", include_in_schema=False)
# Those of Browse that a change knows.
FILTERS: Final = ("state", "profile_id", "import_id", "expires_from", "expires_until")
_ROWS: Final = 50


@router.get("/change-all")
async def choose(visit: CurrentVisit, request: Request, name: str) -> Response:
    """How many codes the filter finds, and what is to become of them."""
    visit.require("write")
    given = {one: request.query_params[one].strip() for one in FILTERS if request.query_params.get(one, "").strip()}
    return await _choice(visit, name, given)


@router.post("/change-all/extend")
async def extend(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Give all of them another expiry."""
    until = None if form.is_on("forever") else form.text("expires_at")
    return await _begin(visit, name, form, {"expires_at": until})


@router.post("/change-all/void")
async def void(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Delete all of them, once the short name was typed."""
    if form.text("typed") != name:
        error = _("This is not the short name: type %(name)s.") % {"name": name}
        return await _choice(visit, name, _given(form), {"typed": (_("Short name"), error)})
    return await _begin(visit, name, form, {"void": True})


@router.get("/changes")
async def show_changes(visit: CurrentVisit, name: str, cursor: str | None = None) -> Response:
    """The changes of many codes, newest first."""
    visit.require("read")
    now = await _program(visit, name)
    found = await visit.api.get(f"/programs/{part(name)}/changes", Page[BulkChange], {"limit": _ROWS, "cursor": cursor})
    return visit.render(
        "screens/changes.html", program=now.program, changes=found.items, next_cursor=found.next_cursor, cursor=cursor,
        states=CHANGE_STATES, filter_words=filter_words,
    )  # fmt: skip


@router.get("/changes/{change_id:uuid}")
async def show_change(visit: CurrentVisit, name: str, change_id: UUID) -> Response:
    """How far a change is, and what it did."""
    return await _change_page(visit, name, change_id)


@router.get("/changes/{change_id:uuid}/codes.csv")
async def download_codes(visit: CurrentVisit, name: str, change_id: UUID) -> Response:
    """What the change did as a file, by places: it has no text of a code."""
    visit.require("read")
    await _program(visit, name)
    return visit.api.stream(f"/changes/{change_id}/codes.csv")


@router.post("/changes/{change_id:uuid}/stop")
async def stop(visit: CurrentVisit, form: PostedForm, name: str, change_id: UUID) -> Response:
    """Stop the change."""
    return await _step(visit, name, change_id, "stop", form.key)


@router.post("/changes/{change_id:uuid}/undo")
async def undo(visit: CurrentVisit, form: PostedForm, name: str, change_id: UUID) -> Response:
    """Restore what the change did."""
    return await _step(visit, name, change_id, "undo", form.key)


async def _step(visit: Visit, name: str, change_id: UUID, step: str, key: str) -> Response:
    visit.require("write")
    try:
        await visit.api.send("POST", f"/changes/{change_id}:{step}", key=key)
    except ApiRefusal as refusal:
        if refusal.status != 409:
            raise
        return await _change_page(visit, name, change_id, refusal)
    return visit.go(f"/programs/{part(name)}/changes/{change_id}")


async def _change_page(visit: Visit, name: str, change_id: UUID, refusal: ApiRefusal | None = None) -> Response:
    visit.require("read")
    now = await _program(visit, name)
    found = await visit.api.get(f"/changes/{change_id}", BulkChange)
    if found.program != now.program.name:
        return visit.go(f"/programs/{part(found.program)}/changes/{change_id}")
    return visit.render(
        "screens/change.html", status=200 if refusal is None else refusal.status, program=now.program, found=found,
        states=CHANGE_STATES, filter_words=filter_words, skipped=skipped_words(found.skipped),
        error="" if refusal is None else refusal.detail,
    )  # fmt: skip


async def _begin(visit: Visit, name: str, form: forms.Form, what: Mapping[str, object]) -> Response:
    visit.require("write")
    given = _given(form)
    try:
        answer = await visit.api.send(
            "POST", f"/programs/{part(name)}/codes:change", {"filter": given, **what}, key=form.key
        )
    except ApiRefusal as refusal:
        if refusal.status not in {409, 422}:
            raise
        error = _("Give a later day.") if refusal.errors else refusal.detail
        place = ("typed", _("Short name")) if "void" in what else ("expires_at", _("New expiry"))
        return await _choice(visit, name, given, {place[0]: (place[1], error)}, dict(form.items()))
    return visit.go(f"/programs/{part(name)}/changes/{BulkChange.model_validate_json(answer).id}")


async def _choice(
    visit: Visit, name: str, given: Mapping[str, str], errors: Mapping[str, tuple[str, str]] | None = None,
    values: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    now = await _program(visit, name)
    counts, refused = None, ""
    try:
        body = {"filter": dict(given), "void": True, "dry_run": True}
        answer = await visit.api.send("POST", f"/programs/{part(name)}/codes:change", body)
        counts = BulkCounts.model_validate_json(answer)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        refused = _("A change finds pooled, attached and expired codes: choose one of these states, or All.")
    return visit.render(
        "screens/change_all.html", status=422 if errors or refused else 200, program=now.program, given=given,
        counts=counts, refused=refused, errors=errors or {}, values=values or {}, words=filter_words(given),
        key=forms.new_key(),
    )  # fmt: skip


def _given(form: forms.Form) -> dict[str, str]:
    return {one: form.text(one) for one in FILTERS if form.text(one)}


async def _program(visit: Visit, name: str) -> ProgramStock:
    return await visit.api.get(f"/overview/{part(name)}", ProgramStock)
