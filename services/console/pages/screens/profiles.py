"""One customer: the codes over all programs, the stored fields, and Forget. The id is in no URL."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.message_previews import ProfileCodes
from schemas.profile import Forgotten, Profile
from services.console.pages.api_calls import ApiRefusal, part
from services.console.pages.masking import Masking
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _, ngettext

router = APIRouter(include_in_schema=False)
_PATH: Final = "/profiles"


@router.get(_PATH)
async def show_search(visit: CurrentVisit) -> Response:
    """The form that looks a profile up."""
    visit.require("read")
    return visit.render("screens/profile_search.html", error="", done="")


@router.post(_PATH)
async def look_up(visit: CurrentVisit, form: PostedForm) -> Response:
    """The profile's codes, masked."""
    return await _page(visit, form.text("profile_id"), Masking(visit.session.caller))


@router.post(_PATH + "/show")
async def show_texts(visit: CurrentVisit, form: PostedForm) -> Response:
    """The same with the texts, which is recorded."""
    async with visit.here.pool.acquire() as connection:
        masking = await Masking.shown(connection, visit.session.caller, of="profile")
    return await _page(visit, form.text("profile_id"), masking)


@router.post(_PATH + "/forget")
async def forget(visit: CurrentVisit, form: PostedForm) -> Response:
    """Forget the profile whose id was typed."""
    profile_id = form.text("profile_id")
    if form.text("typed") != profile_id:
        error = _("This is not the id of the profile.")
        return await _page(visit, profile_id, Masking(visit.session.caller), status=422, error=error)
    forgotten = Forgotten.model_validate_json(await visit.api.send("DELETE", f"/profiles/{part(profile_id)}"))
    done = ngettext(
        "The profile is forgotten: its fields are deleted, and %(count)s answer names a random id instead.",
        "The profile is forgotten: its fields are deleted, and %(count)s answers name a random id instead.",
        forgotten.answers,
    )
    return visit.render("screens/profile_search.html", error="", done=done % {"count": f"{forgotten.answers:,}"})


async def _page(visit: Visit, profile_id: str, masking: Masking, *, status: int = 200, error: str = "") -> Response:
    visit.require("read")
    try:
        found = await visit.api.get("/codes", ProfileCodes, {"profile_id": profile_id})
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        return visit.render("screens/profile_search.html", status=422, error=refusal.detail, done="")
    return visit.render(
        "screens/profile.html", status=status, profile_id=profile_id, found=found, masking=masking, error=error,
        fields=await _fields(visit, profile_id) if masking.is_shown else None,
        may_forget=visit.may("write") and visit.session.caller.sees_profiles,
    )  # fmt: skip


async def _fields(visit: Visit, profile_id: str) -> Profile | None:
    """The stored fields; None where there are none, or the person may not see fields."""
    if not visit.session.caller.sees_profiles:
        return None
    try:
        return await visit.api.get(f"/profiles/{part(profile_id)}", Profile)
    except ApiRefusal as refusal:
        if refusal.status != 404:
            raise
        return None
