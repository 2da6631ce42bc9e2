"""Tokens of the API and sessions of the console: make, revoke, end."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from fastapi.responses import Response

from codewell.access import sessions
from codewell.access.sessions import Session, SessionEntry
from codewell.audit import audit_log
from schemas.api import Page
from schemas.token import ApiToken, CreatedToken
from services.console.pages import scope_words
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.forms import Form
from services.console.pages.program_labels import sentence
from services.console.pages.recent_sign_in import RECENT_SIGN_IN, require_recent_sign_in
from services.console.pages.visit import CurrentVisit, PostedForm, Visit
from services.console.pages.words import _

router = APIRouter(include_in_schema=False)
_PATH: Final = "/tokens"
_ROWS: Final = 50
_SESSIONS_MAX: Final = 100
_FIELDS: Final = {"name", "scopes", "groups", "expires_in"}
# Their lifetimes, and the words for them.
_LIFETIMES: Final = ("P30D", "P90D", "P365D", "")


@router.get(_PATH)
async def show_tokens(visit: CurrentVisit, cursor: str | None = None, done: str = "") -> Response:
    """The tokens, for administrators who signed in a short while ago, and the sessions."""
    listed = None
    if visit.may("admin"):
        await require_recent_sign_in(visit)
        listed = await visit.api.get("/tokens", Page[ApiToken], {"limit": _ROWS, "cursor": cursor})
    return visit.render(
        "screens/tokens.html", listed=listed, cursor=cursor, sessions=await _sessions(visit),
        is_own=_whose(visit) is not None, now=datetime.now(UTC),
        done={"revoked": _("The token is revoked."), "ended": _("The session is ended.")}.get(done, ""),
    )  # fmt: skip


@router.get(f"{_PATH}/new", dependencies=[RECENT_SIGN_IN])
async def show_form(visit: CurrentVisit) -> Response:
    """The form for a new token."""
    visit.require("admin")
    return _form(visit, {"name": "", "groups": ", ".join(visit.session.caller.groups)}, ("read",), "P90D")


@router.post(f"{_PATH}/new", dependencies=[RECENT_SIGN_IN])
async def make_token(visit: CurrentVisit, form: PostedForm) -> Response:
    """Make the token, and show its secret on the page that answers: nowhere else, and never again."""
    groups = [name.strip() for name in form.text("groups").split(",") if name.strip()]
    wanted = {
        "name": form.text("name"),
        "scopes": form.texts("scopes"),
        "groups": groups,
        "expires_in": form.text("expires_in") or None,
    }
    try:
        made = await visit.api.send("POST", "/tokens", wanted, key=form.key)
    except ApiRefusal as refusal:
        return _refused(visit, form, refusal)
    return visit.render("screens/token_made.html", token=CreatedToken.model_validate_json(made))


@router.get(f"{_PATH}/{{token_id}}", dependencies=[RECENT_SIGN_IN])
async def show_token(visit: CurrentVisit, token_id: int) -> Response:
    """One token, and the way to revoke it."""
    token = await visit.api.get(f"/tokens/{token_id}", ApiToken)
    return visit.render("screens/token.html", token=token, error="")


@router.post(f"{_PATH}/{{token_id}}/revoke", dependencies=[RECENT_SIGN_IN])
async def revoke_token(visit: CurrentVisit, form: PostedForm, token_id: int) -> Response:
    """Revoke the token whose name was typed."""
    token = await visit.api.get(f"/tokens/{token_id}", ApiToken)
    if form.text("typed") != token.name:
        error = _("Type the name of the token: %(name)s.") % {"name": token.name}
        return visit.render("screens/token.html", status=422, token=token, error=error)
    await visit.api.send("DELETE", f"/tokens/{token_id}")
    visit.here.sign_ins.forget_all()
    return visit.go(f"{_PATH}?done=revoked")


@router.post("/sessions/{session_id}/end")
async def end_session(visit: CurrentVisit, session_id: Annotated[int, Path(le=2**63 - 1)]) -> Response:
    """End a session: an own one, or, for administrators of all programs, any."""
    await visit.here.sign_ins.end(session_id, visit.session.caller.actor, _whose(visit))
    return visit.go(f"{_PATH}?done=ended")


@router.post("/sessions/end-others")
async def end_other_sessions(visit: CurrentVisit) -> Response:
    """End all sessions of this person but the one that asks."""
    async with visit.here.pool.acquire() as connection, connection.transaction():
        count = await sessions.end_others(connection, visit.session)
        await audit_log.record(connection, visit.session.caller.actor, "session.end_others", count=count)
    visit.here.sign_ins.forget_all()
    return visit.go(f"{_PATH}?done=ended")


def _whose(visit: Visit) -> Session | None:
    """Whose sessions the person may see: None for all."""
    return None if visit.may("admin") and not visit.session.caller.groups else visit.session


async def _sessions(visit: Visit) -> list[SessionEntry]:
    async with visit.here.pool.acquire() as connection:
        return await sessions.entries(connection, _whose(visit), _SESSIONS_MAX)


def _refused(visit: Visit, form: Form, refusal: ApiRefusal) -> Response:
    """The form again, with the refusal at its fields."""
    errors = {pointer.partition("/")[0]: sentence(words) for pointer, words in refusal.errors.items()}
    known = {name: told for name, told in errors.items() if name in _FIELDS}
    if refusal.reason == "token_taken":
        known = {"name": refusal.detail}
    if not known:
        known = {"": refusal.detail}
    texts = {"name": form.text("name"), "groups": form.text("groups")}
    return _form(visit, texts, form.texts("scopes"), form.text("expires_in"), known, refusal.status)


def _form(
    visit: Visit, texts: dict[str, str], scopes: list[str] | tuple[str, ...], expires_in: str,
    errors: dict[str, str] | None = None, status: int = 200,
) -> Response:  # fmt: skip
    lasting = {
        "P30D": _("30 days"), "P90D": _("90 days"), "P365D": _("A year"), "": _("Until it is revoked"),
    }  # fmt: skip
    # A refused form gets another key with its page: it is sent again as another request.
    return visit.render(
        "screens/token_form.html", status=status, texts=texts, expires_in=expires_in, errors=errors or {},
        scopes=[(scope, words, scope in scopes) for scope, words in scope_words.meanings().items()],
        lifetimes=[(given, lasting[given]) for given in _LIFETIMES], own_groups=visit.session.caller.groups,
    )  # fmt: skip
