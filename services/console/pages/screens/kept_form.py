"""A form that came when its session had ended: its sender sends it on after signing in again."""

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.access import kept_forms
from services.console.pages.keeping import CONTINUE, person_of
from services.console.pages.visit import CurrentVisit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)


@router.get(CONTINUE)
async def show_kept_form(visit: CurrentVisit) -> Response:
    """The form, ready to be sent where it was going. Its key makes that harmless where it was done already."""
    cookie = visit.here.sign_ins.kept_form
    secret = cookie.of(visit.request.headers.get("cookie", ""))
    async with visit.here.pool.acquire() as connection:
        kept = await kept_forms.find(connection, secret, person_of(visit))
        if kept is None and secret:
            # It is another person's, or too old: it is not offered to anyone else.
            await kept_forms.forget(connection, secret)
    if kept is not None:
        return visit.render("screens/kept_form.html", kept=kept)
    response = visit.render("screens/error.html", title=_("Nothing to send"), sentence=_(
        "There is no form of yours that waits to be sent. A form is kept for half an hour, for the person who sent it."
    ))  # fmt: skip
    cookie.delete(response)
    return response
