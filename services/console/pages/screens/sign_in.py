"""Sign in by pasting a token or with a link, and sign out."""

from fastapi import APIRouter
from fastapi.responses import Response

from codewell.access import sign_in_links, tokens
from services.console.pages.keeping import CONTINUE
from services.console.pages.sign_in_page import HOME, show, target_of
from services.console.pages.visit import SIGN_IN, CurrentVisit, PostedForm
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_LINK = "/sign-in/link"


@router.get(SIGN_IN)
async def show_sign_in(visit: CurrentVisit, to: str = HOME) -> Response:
    """The ways to sign in; for a person who is signed in, the one to do so again."""
    return show(visit, to)


@router.post(SIGN_IN)
async def sign_in(visit: CurrentVisit, form: PostedForm) -> Response:
    """Begin a session with the rights of the pasted token."""
    to = target_of(form.text("to"))
    async with visit.here.pool.acquire() as connection:
        token = await tokens.authenticate(connection, tokens.hash_of(form.text("token")))
        if token is None:
            error = _("This token is unknown, revoked or expired: paste another one, or ask an operator for one.")
            return show(visit, to, 422, token_error=error)
        response = visit.go(to)
        await visit.here.sign_ins.begin(
            connection, response, "token", token.id, token.name, before=visit.session_or_none
        )
    return response


@router.get(_LINK)
async def show_link(visit: CurrentVisit, secret: str = "") -> Response:
    """One button. Opening the link alone does not sign in, as browsers and mail programs open links by themselves."""
    return visit.render("screens/sign_in_link.html", secret=secret)


@router.post(_LINK)
async def use_link(visit: CurrentVisit, form: PostedForm) -> Response:
    """Begin a session with the rights of the link's token. The link works no more afterwards."""
    is_form_kept = visit.here.sign_ins.kept_form.of(visit.request.headers.get("cookie", "")) != ""
    async with visit.here.pool.acquire() as connection, connection.transaction():
        token = await sign_in_links.use(connection, form.text("secret"))
        if token is None:
            return show(
                visit, HOME, 422,
                _("This link was used, or is older than a minute: get a new one with codewell console open."),
            )  # fmt: skip
        response = visit.go(CONTINUE if is_form_kept else HOME)
        await visit.here.sign_ins.begin(
            connection, response, "link", token.id, token.name, before=visit.session_or_none
        )
    return response


@router.post("/sign-out")
async def sign_out(visit: CurrentVisit) -> Response:
    """End the session."""
    response = visit.go(SIGN_IN)
    if visit.session_or_none is not None:
        await visit.here.sign_ins.sign_out(response, visit.session)
    return response
