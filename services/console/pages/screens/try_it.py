"""Try it: a message text rendered with codes of no profile."""

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.events import PLACEHOLDER, PROGRAMS_MAX
from schemas.message_previews import MessagePreview
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.program_labels import sentence
from services.console.pages.visit import CurrentVisit, PostedForm
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/try"
_FIELDS: Final = ("template", "profile_id")
_NAMES_NONE: Final = _(
    "Write a variable such as {loyalty.SPRING.promocode} into it, for at least one program and at most %(most)d."
)


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
        errors = {name: sentence(refusal.errors[name]) for name in _FIELDS if name in refusal.errors}
        is_named = 1 <= len(set(PLACEHOLDER.findall(given["template"]))) <= PROGRAMS_MAX
        errors = errors or {"template": refusal.detail if is_named else _NAMES_NONE % {"most": PROGRAMS_MAX}}
        return visit.render("screens/try_it.html", status=422, given=given, preview=None, errors=errors)
    return visit.render("screens/try_it.html", given=given, preview=found, errors={})
