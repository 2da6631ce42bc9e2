"""One code: its text, its state, its history, and what can be done with it.

The page's URL has the code's place, never its text. A person who may redeem codes and not list them gets no place:
the page answers the form that looked the code up, and its forms carry the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.api import Code, ReissuedCode
from schemas.events import ShortName
from schemas.history import CodeHistory
from schemas.till import CodeUses
from services.console.http.auth import visible_program
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.code_words import done, timeline_entry, use_states
from services.console.pages.forms import Form
from services.console.pages.masking import Masking
from services.console.pages.numbers import whole_number
from services.console.pages.program_labels import sentence
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/programs/{name}/code"
_USABLE: Final = frozenset({"attached", "held", "activated", "expired"})


@dataclass(frozen=True)
class Known:
    """A code that somebody looked up: by its place, or by its text."""

    history: CodeHistory
    place: str = ""

    @property
    def code(self) -> Code:
        """The code itself."""
        return self.history.code


@router.get(_PATH)
async def show_search(visit: CurrentVisit, name: ShortName) -> Response:
    """The form that looks a code up."""
    visit.require("read", "redeem", "support")
    async with visit.here.pool.acquire() as connection:
        # The API says nothing of a program to those who may not read it.
        await visible_program(connection, visit.session.caller, name)
    return visit.render("screens/code_search.html", program=name, error="", done="")


@router.post(_PATH)
async def look_up(visit: CurrentVisit, name: str, form: PostedForm) -> Response:
    """Look a code up by its text, which counts as a guess where there is none."""
    return await open_by_text(visit, name, form.text("code"))


async def open_by_text(visit: Visit, name: str, code: str) -> Response:
    """The page of the code with this text, or the form again."""
    try:
        found = await _by_text(visit, name, code)
    except ApiRefusal as refusal:
        return visit.render(
            "screens/code_search.html", status=refusal.status, program=name, error=refusal.detail, done=""
        )
    if visit.may("read") and found.code.place is not None:
        return visit.go(f"{_url(name)}/{found.code.place}")
    return await _page(visit, name, found, Masking(visit.session.caller, is_shown=True))


@router.get(_PATH + "/{place}")
async def show_code(visit: CurrentVisit, name: str, place: str, did: str = "") -> Response:
    """The code at a place, masked."""
    return await _page(visit, name, await _by_place(visit, name, place), Masking(visit.session.caller), did=did)


@router.post(_PATH + "/{place}/show")
async def show_text(visit: CurrentVisit, name: str, place: str) -> Response:
    """The same with its text, which is recorded."""
    found = await _by_place(visit, name, place)
    async with visit.here.pool.acquire() as connection:
        masking = await Masking.shown(connection, visit.session.caller, name, place=place)
    return await _page(visit, name, found, masking)


@router.get(_PATH + "/step/{step}")
async def leave_step(visit: CurrentVisit, name: str) -> Response:
    """Where a browser that was left at a step leads: which code it was is in no URL."""
    visit.require("read", "redeem", "support")
    async with visit.here.pool.acquire() as connection:
        await visible_program(connection, visit.session.caller, name)
    return visit.go(_url(name))


@router.post(_PATH + "/step/{step}")
async def do_step(visit: CurrentVisit, name: str, step: str, form: PostedForm) -> Response:
    """Do something with the code, and show it as it is now."""
    place = form.text("place")
    known = await (_by_place(visit, name, place) if place else _by_text(visit, name, form.text("code")))
    if step == "delete" and form.text("typed") != name:
        error = _("This is not the short name: type %(name)s.") % {"name": name}
        return await _page(visit, name, known, _masking(visit, place), status=422, delete_error=error)
    try:
        new = await _send(visit, name, known.code.code, step, form)
    except ApiRefusal as refusal:
        masking = _masking(visit, place)
        # The API's sentence may name the code.
        error = refusal.detail.replace(known.code.code, masking.code(known.code.code))
        typed, errors = dict(form.items()), _errors(step, refusal)
        return await _page(
            visit, name, known, masking, status=refusal.status, error="" if errors else error, values=typed,
            errors=errors,
        )  # fmt: skip
    if place:
        return visit.go(f"{_url(name)}/{place if new is None else new.place}?did={step}")
    text = known.code.code if new is None else new.code
    return await _page(visit, name, await _by_text(visit, name, text), _masking(visit, ""), did=step)


async def _send(visit: Visit, name: str, code: str, step: str, form: Form) -> Code | None:
    """Do the step. Returns the other code that is to be shown then, if there is one."""
    program = f"/programs/{part(name)}"
    match step:
        case "attach":
            body = {"code": code, "profile_id": form.text("profile_id")}
            await visit.api.send("POST", f"{program}/codes:attach", body, key=form.key)
        case "detach":
            await visit.api.send("POST", f"{program}/codes:detach", {"code": code}, key=form.key)
        case "activate" | "hold" | "release" | "deactivate":
            await visit.api.send("POST", f"{program}/codes:{step}", _till_body(code, step, form), key=form.key)
        case "change":
            until = None if form.is_on("forever") else form.text("expires_at")
            await visit.api.send("PATCH", f"{program}/codes/{part(code)}", {"expires_at": until})
        case "reissue":
            body = {"code": code, "reason": form.text("reason"), "expires": form.text("expires")}
            answer = await visit.api.send("POST", f"{program}/codes:reissue", body, key=form.key)
            return ReissuedCode.model_validate_json(answer)
        case "delete":
            await visit.api.send("DELETE", f"{program}/codes/{part(code)}")
        case _:
            raise ApiRefusal({"status": 404, "reason": "path_unknown", "detail": _("There is no such page.")})
    return None


def _till_body(code: str, step: str, form: Form) -> dict[str, str]:
    """What a step at the till names beside the code; fields that are empty are left out."""
    names = {"order": "order_id", "profile": "profile_id"}
    given = {name: form.text(f"{step}_{field}") for field, name in names.items()}
    if step == "hold":
        minutes = whole_number(form.text("hold_minutes") or "30")
        given["ttl"] = form.text("hold_minutes") if minutes is None else f"PT{minutes}M"
    return {"code": code} | {name: text for name, text in given.items() if text}


def _errors(step: str, refusal: ApiRefusal) -> dict[str, tuple[str, str]]:
    """The label and the sentence of each field that was refused; none where the code is what is in the way."""
    labels = {
        "activate_order": _("Order that uses it"), "activate_profile": _("Customer who uses it"),
        "hold_order": _("Order that holds it"), "hold_profile": _("Customer of that order"),
        "hold_minutes": _("For how long"), "deactivate_order": _("Order whose use is taken back"),
        "profile_id": _("Profile"), "expires_at": _("New expiry"), "reason": _("Reason"),
        "expires": _("The new code expires"),
    }  # fmt: skip
    places = {"order_id": f"{step}_order", "ttl": "hold_minutes"}
    if f"{step}_profile" in labels:
        places["profile_id"] = f"{step}_profile"
    found = {}
    for pointer, words in refusal.errors.items():
        field = places.get(pointer, pointer)
        if field not in labels:
            return {}
        told = _("Give a whole number of minutes, at most 1,440.") if pointer == "ttl" else sentence(words)
        found[field] = (labels[field], told)
    return found


async def _uses(visit: Visit, name: str, code: Code) -> CodeUses | None:
    """Who used or holds the code; None for one that no till may use."""
    if code.state not in _USABLE and not code.uses:
        return None
    return await visit.api.get(f"/programs/{part(name)}/uses/{part(code.code)}", CodeUses)


def _masking(visit: Visit, place: str) -> Masking:
    return Masking(visit.session.caller, is_shown=not place)


def _url(name: str) -> str:
    return f"/programs/{part(name)}/code"


async def _by_place(visit: Visit, name: str, place: str) -> Known:
    found = await visit.api.get(f"/programs/{part(name)}/places/{part(place)}/history", CodeHistory)
    return Known(found, place)


async def _by_text(visit: Visit, name: str, code: str) -> Known:
    if not code:
        raise ApiRefusal({"status": 422, "reason": "field_invalid", "detail": _("Type or paste a code.")})
    return Known(await visit.api.get(f"/programs/{part(name)}/history/{part(code)}", CodeHistory))


async def _page(
    visit: Visit, name: str, known: Known, masking: Masking, *, status: int = 200, did: str = "", error: str = "",
    delete_error: str = "", values: Mapping[str, str] | None = None,
    errors: Mapping[str, tuple[str, str]] | None = None,
) -> Response:  # fmt: skip
    code = known.code
    fields = {"place": known.place} if known.place else {"code": code.code}
    is_open = code.state in {"pooled", "attached", "expired"}
    may: dict[str, bool] = {
        "attach": code.state == "pooled" and visit.may("write"),
        "detach": code.state == "attached" and visit.may("write"),
        "activate": code.state in {"attached", "held"} and visit.may("redeem"),
        "hold": code.state in {"attached", "held"} and visit.may("redeem"),
        "deactivate": (code.uses > 0 or code.state == "activated") and visit.may("redeem"),
        "change": is_open and visit.may("write"),
        "reissue": code.state in {"attached", "expired"} and bool(code.profile_id) and visit.may("support"),
        "delete": is_open and visit.may("write"),
    }
    code_url = _url(name) if visit.may("read") else ""
    return visit.render(
        "screens/code.html", status=status, program=name, code=code, masking=masking, fields=fields, may=may,
        url=f"{_url(name)}/{known.place}" if known.place else "", step_url=f"{_url(name)}/step",
        uses=await _uses(visit, name, code), use_states=use_states(),
        events=[timeline_entry(event, masking, code_url) for event in known.history.events],
        is_complete=known.history.complete,
        done=done(did, code), error=error, delete_error=delete_error, values=values or {}, errors=errors or {},
    )  # fmt: skip
