"""The page of the promises: the last check on the live database, and a new one."""

from fastapi import APIRouter
from fastapi.responses import Response

from schemas.promises import LastPromiseCheck
from services.console.pages.visit import CurrentVisit, PostedForm

router = APIRouter(include_in_schema=False)
_PATH = "/operations/promises"


@router.get(_PATH)
async def show_promises(visit: CurrentVisit) -> Response:
    """The last check, with its progress while it runs."""
    visit.require("admin")
    found = await visit.api.get("/promises", LastPromiseCheck)
    return visit.render("screens/promises.html", check=found.check)


@router.post(_PATH)
async def check_promises(visit: CurrentVisit, _form: PostedForm) -> Response:
    """Check them now."""
    await visit.api.send("POST", "/promises:check")
    return visit.go(_PATH)
