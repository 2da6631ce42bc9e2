"""Try it: a message text rendered with codes of no profile."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.message_previews import MessagePreview
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.visit import CurrentVisit, PostedForm

router = APIRouter(include_in_schema=False)
_PATH: Final = "/try"
_FIELDS: Final = ("template", "profile_id")


@router.get(_PATH)
async def show_form(visit: CurrentVisit, program: str = "") -> Response:
    """The form, with the variable of a program."""
    visit.require("read")
    template = f"{{loyalty.{program}.promocode}}" if program else ""
    given = {"template": template, "profile_id": "p-1001"}
    return visit.render("screens/try_it.html", given=given, preview=None, errors={})


@router.post(_PATH)
async def show_preview(visit: CurrentVisit, form: PostedForm) -> Response:
    """The message as a campaign would send it."""
    given = {name: form.text(name) for name in _FIELDS}
    try:
        found = MessagePreview.model_validate_json(await visit.api.send("POST", "/preview", given))
    except ApiRefusal as refusal:
        if refusal.status != 422:
            raise
        errors = {name: refusal.errors[name] for name in _FIELDS if name in refusal.errors}
        errors = errors or {"template": refusal.detail}
        return visit.render("screens/try_it.html", status=422, given=given, preview=None, errors=errors)
    return visit.render("screens/try_it.html", given=given, preview=found, errors={})
