"""Browse the codes of a program, and change many of them at once."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from codewell.access import stored_responses
from codewell.codes.lookup import CodePlace
from schemas.api import Code, CountedCodes, Page
from schemas.imports import Import
from schemas.overview import ProgramStock
from services.console.pages import forms
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.forms import Form
from services.console.pages.masking import Masking
from services.console.pages.visit import CurrentVisit, PostedForm, Visit, is_own_path
from services.console.pages.words import _
from services.console.routes.selections import SELECTED_MAX, Changed

router = APIRouter(prefix="/programs/{name}/codes", include_in_schema=False)
ROWS: Final = 50
_IMPORTS: Final = 50
_PAGES_MAX: Final = 20
FILTERS: Final = ("state", "profile_id", "import_id", "batch", "expires_from", "expires_until", "order")
COLUMNS: Final = ("state", "profile", "attached", "activated", "expires", "created", "fields")
_SHOWN_FIRST: Final = ("state", "profile", "attached", "expires")


@router.get("")
async def browse(visit: CurrentVisit, request: Request, name: str) -> Response:
    """A page of codes; filters and columns stand in the address."""
    return await _page(visit, request, name, Masking(visit.session.caller))


@router.post("")
async def browse_texts(visit: CurrentVisit, request: Request, name: str) -> Response:
    """The same with the texts of codes and profile ids, which is recorded."""
    await _program(visit, name)
    async with visit.here.pool.acquire() as connection:
        masking = await Masking.shown(connection, visit.session.caller, name)
    return await _page(visit, request, name, masking)


@router.post("/selected")
async def choose_change(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """What is to become of the selected codes."""
    visit.require("write")
    await _program(visit, name)
    places = await _selected(visit, name, form)
    if not places:
        return visit.go(_with(_list_url(name, form), "did", "nothing"))
    return await _change_page(visit, name, places, form)


@router.post("/delete")
async def delete(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Delete the selected codes, once the short name was typed."""
    visit.require("write")
    places = _places(form)
    if form.text("typed") != name:
        error = _("This is not the short name: type %(name)s.") % {"name": name}
        return await _change_page(visit, name, places, form, {"typed": (_("Short name"), error)})
    return await _change(visit, name, "delete", {"places": places}, form)


@router.post("/extend")
async def extend(visit: CurrentVisit, form: PostedForm, name: str) -> Response:
    """Let the selected codes live until a later day."""
    visit.require("write")
    places, until = _places(form), form.text("expires_at")
    try:
        return await _change(visit, name, "extend", {"places": places, "expires_at": until}, form)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        errors = {"expires_at": (_("New expiry"), _("Give a later day."))}
        return await _change_page(visit, name, places, form, errors, expires_at=until)


@router.get("/changed")
async def show_changed(visit: CurrentVisit, name: str, result: str = "", listed: str = "") -> Response:
    """What became of the selected codes, by the form's key `result`; the list of codes once it is forgotten."""
    visit.require("write")
    now = await _program(visit, name)
    changed = await _result(visit, result)
    if changed is None or changed.program != name:
        return visit.go(f"/programs/{part(name)}/codes")
    return visit.render(
        "screens/codes_changed.html", program=now.program, changed=changed, masking=Masking(visit.session.caller),
        listed=_own_list_url(name, listed),
    )  # fmt: skip


async def _page(visit: Visit, request: Request, name: str, masking: Masking) -> Response:
    visit.require("read")
    given = {one: request.query_params[one].strip() for one in FILTERS if request.query_params.get(one, "").strip()}
    chosen = [one for one in request.query_params.getlist("columns") if one in COLUMNS] or list(_SHOWN_FIRST)
    cursor = request.query_params.get("cursor") or None
    now = await _program(visit, name)
    errors: dict[str, tuple[str, str]] = {}
    codes: CountedCodes = CountedCodes(items=[], next_cursor=None)
    try:
        codes = await _codes(visit, name, {**given, "cursor": cursor}, ROWS)
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        errors = {field: ("", f"{_labels().get(field, field)} {words}.") for field, words in refusal.errors.items()}
        errors = errors or {"": ("", refusal.detail)}
    imports = await visit.api.get(f"/programs/{part(name)}/imports", Page[Import], {"limit": _IMPORTS})
    base = f"/programs/{part(name)}/codes"
    kept: list[tuple[str, str]] = [
        *given.items(),
        *(("columns", one) for one in chosen if "columns" in request.query_params),
    ]
    return visit.render(
        "screens/codes.html", status=422 if errors else 200, now=now, program=now.program, masking=masking,
        codes=codes.items, total=codes.total, given=given, chosen=chosen, columns=_column_words(), errors=errors,
        imports=imports.items, base=base, selected_max=SELECTED_MAX, cursor=cursor, kept=kept,
        here=_url(base, [*kept, *([("cursor", cursor)] if cursor else [])]), did=request.query_params.get("did", ""),
        first_url=_url(base, kept),
        change_url=_url(f"/programs/{part(name)}/change-all", [one for one in given.items() if one[0] != "order"]),
        next_url=_url(base, [*kept, ("cursor", codes.next_cursor)]) if codes.next_cursor else "",
    )  # fmt: skip


def _url(base: str, query: list[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(query)}" if query else base


def _with(url: str, name: str, value: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode({name: value})}"


def _list_url(name: str, form: Form) -> str:
    """The page of the list on which the codes of a form were selected."""
    return _own_list_url(name, form.text("listed"))


def _own_list_url(name: str, given: str) -> str:
    base = f"/programs/{part(name)}/codes"
    return given if given.startswith(f"{base}?") and is_own_path(given) else base


async def _codes(visit: Visit, name: str, query: Mapping[str, Any], limit: int) -> CountedCodes:
    return await visit.api.get(f"/programs/{part(name)}/codes", CountedCodes, {**query, "limit": limit})


async def _selected(visit: Visit, name: str, form: Form) -> list[str]:
    """The places that were ticked, or of all codes from this page on, as many as may be changed at once."""
    if not form.is_on("all"):
        return _places(form)
    query: dict[str, str] = {one: form.text(one) for one in (*FILTERS, "cursor") if form.text(one)}
    places: list[str] = []
    for _n in range(_PAGES_MAX):
        page = await _codes(visit, name, query, SELECTED_MAX - len(places))
        places += [one.place for one in page.items if one.place is not None]
        if page.next_cursor is None or len(places) >= SELECTED_MAX:
            break
        query["cursor"] = page.next_cursor
    return places


def _places(form: Form) -> list[str]:
    """The places of the form; what is none would be another path of the API."""
    places = [one for one in form.texts("place") if CodePlace.parse(one) is not None]
    return list(dict.fromkeys(places))[:SELECTED_MAX]


async def _change_page(
    visit: Visit, name: str, places: list[str], form: Form, errors: Mapping[str, tuple[str, str]] | None = None, *,
    expires_at: str = "",
) -> Response:  # fmt: skip
    now = await _program(visit, name)
    first: list[Code] = [
        await visit.api.get(f"/programs/{part(name)}/places/{part(place)}", Code) for place in places[:5]
    ]
    return visit.render(
        "screens/codes_selected.html", status=422 if errors else 200, program=now.program, places=places, first=first,
        errors=errors or {}, masking=Masking(visit.session.caller), key=forms.new_key(), expires_at=expires_at,
        listed=_list_url(name, form),
    )  # fmt: skip


async def _change(visit: Visit, name: str, verb: str, body: Mapping[str, object], form: Form) -> Response:
    await visit.api.send("POST", f"/programs/{part(name)}/selections:{verb}", body, key=form.key)
    changed = f"/programs/{part(name)}/codes/changed?result={form.key}"
    return visit.go(_with(changed, "listed", _list_url(name, form)))


async def _result(visit: Visit, key: str) -> Changed | None:
    """What this person did under the key of a form, as long as it is stored."""
    try:
        key = str(UUID(key))
    except ValueError:
        return None
    async with visit.here.pool.acquire() as connection, connection.transaction():
        stored = await stored_responses.get_response(connection, visit.session.caller.id, key)
    try:
        return None if stored is None else Changed.model_validate_json(stored.body)
    except ValidationError:
        return None


async def _program(visit: Visit, name: str) -> ProgramStock:
    return await visit.api.get(f"/overview/{part(name)}", ProgramStock)


def _column_words() -> dict[str, str]:
    return {
        "state": _("State"),
        "profile": _("Profile"),
        "attached": _("Attached"),
        "activated": _("Activated"),
        "expires": _("Expires"),
        "created": _("Made"),
        "fields": _("Custom fields"),
    }


def _labels() -> dict[str, str]:
    return {
        "state": _("State"),
        "profile_id": _("Profile"),
        "import_id": _("Import"),
        "batch": _("Batch"),
        "expires_from": _("Expires from"),
        "expires_until": _("Expires until"),
        "cursor": _("Page"),
    }
