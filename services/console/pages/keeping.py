"""Keeps a posted form until its sender has signed in again, and sends the browser to do so."""

from typing import Final
from urllib.parse import urlsplit

from fastapi.responses import Response
from starlette.exceptions import HTTPException

from codewell.access import kept_forms
from codewell.access.kept_forms import Sender
from services.console.http.problems import AWAY
from services.console.pages import forms
from services.console.pages.visit import Visit, is_own_path

CONTINUE: Final = "/sign-in/continue"
_FORM: Final = "application/x-www-form-urlencoded"


async def go_and_sign_in(visit: Visit) -> Response:
    """Answer a request that needs a sign-in. The person comes back to the page, or to the form that was posted."""
    secret = await _keep(visit) if visit.request.method == "POST" else None
    response = visit.go(visit.sign_in_url(CONTINUE if secret else None))
    if visit.is_partial:
        # A script would put the sign-in into a part of its page: it is told to open the whole page.
        response = Response(headers={"HX-Redirect": visit.sign_in_url(_page_of(visit))})
    if secret is not None:
        visit.here.sign_ins.kept_form.set(response, secret, kept_forms.LIFETIME)
    return response


async def _keep(visit: Visit) -> str | None:
    request = visit.request
    is_form = request.headers.get("content-type", "").startswith(_FORM) and is_own_path(visit.address)
    is_by_script = visit.is_partial or request.headers.get("sec-fetch-mode", "navigate") != "navigate"
    if is_by_script or not is_form:
        # What scripts post is no form of a person, and what comes with files is too large.
        return None
    try:
        sender = await visit.here.sign_ins.sender(request.headers.get("cookie", ""))
        if sender is None:
            return None
        form = await forms.read_form(request)
        async with visit.here.pool.acquire() as connection:
            return await kept_forms.keep(connection, sender, visit.address, form.items())
    except (HTTPException, *AWAY):
        # The sign-in is needed anyway, and will say what is wrong.
        return None


def person_of(visit: Visit) -> Sender:
    """The person who is signed in, as the sender of forms."""
    return Sender(visit.session.kind, visit.session.caller.name)


def _page_of(visit: Visit) -> str | None:
    try:
        parts = urlsplit(visit.request.headers.get("hx-current-url", ""))
    except ValueError:
        return None
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return path if is_own_path(path) else None
