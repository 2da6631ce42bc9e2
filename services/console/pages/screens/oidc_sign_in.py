"""Sign in with an OpenID provider: to its page, and back."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from codewell.access import sessions
from services.console.oidc.attempt import Attempt
from services.console.oidc.failures import ProviderAway, SignInRefused
from services.console.oidc.grants import grant_of
from services.console.pages.pages_context import RETURN_PATH, Oidc
from services.console.pages.recent_sign_in import is_recent
from services.console.pages.sign_in_page import HOME, show, target_of
from services.console.pages.visit import CurrentVisit, NoSuchPage, Visit
from services.console.pages.words import _

log = structlog.get_logger()

router = APIRouter(include_in_schema=False)
_ATTEMPT_LIFETIME: Final = timedelta(minutes=10)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@router.get("/sign-in/oidc")
async def go_to_provider(visit: CurrentVisit, to: str = HOME) -> Response:
    """Send the browser to the provider. A link and no form: the policy of pages lets forms go to this host alone."""
    oidc, attempt, to = _oidc(visit), Attempt.begin(), target_of(to)
    try:
        url = await oidc.provider.sign_in_url(attempt, again=visit.session_or_none is not None)
    except ProviderAway as error:
        return _away(visit, to, error)
    response = RedirectResponse(url, 303)
    kept = f"{attempt.secret}.{base64.urlsafe_b64encode(to.encode()).decode()}"
    visit.here.sign_ins.attempt.set(response, kept, _ATTEMPT_LIFETIME)
    return response


@router.get(RETURN_PATH)
async def come_back(visit: CurrentVisit) -> Response:
    """Begin a session with the rights of the person's groups."""
    oidc = _oidc(visit)
    attempt, to = _kept(visit.here.sign_ins.attempt.of(visit.request.headers.get("cookie", "")))
    try:
        person = await oidc.provider.person(attempt, visit.request.query_params)
    except ProviderAway as error:
        return _away(visit, to, error)
    except SignInRefused as error:
        log.warning("oidc_refused", error=str(error))
        return _refused(visit, to, str(error))
    grant = grant_of(person.groups, oidc.granted)
    if grant is None:
        sentence = _("%(name)s is in no group that may use this console: ask an operator for one.")
        return _refused(visit, to, sentence % {"name": person.name})
    # A provider that does not say when has not asked just now either.
    authenticated_at = person.authenticated_at or _LONG_AGO
    if visit.session_or_none is not None and not is_recent(authenticated_at):
        # A page would send the person here again, and again.
        sentence = _("The provider did not ask you to sign in again, or does not say when you did: tell an operator.")
        return _refused(visit, to, sentence)
    response = visit.go(to)
    async with visit.here.pool.acquire() as connection, connection.transaction():
        token_id = await sessions.make_token(connection, grant.scopes, grant.groups, person.key)
        await visit.here.sign_ins.begin(
            connection, response, "oidc", token_id, person.name, before=visit.session_or_none,
            authenticated_at=authenticated_at,
        )  # fmt: skip
    visit.here.sign_ins.attempt.delete(response)
    return response


def _oidc(visit: Visit) -> Oidc:
    if visit.here.oidc is None:
        raise NoSuchPage
    return visit.here.oidc


def _kept(cookie: str) -> tuple[Attempt, str]:
    """The attempt of this browser, or a new one that no answer fits, and where the person was going."""
    secret, _dot, to = cookie.partition(".")
    try:
        target = base64.urlsafe_b64decode(to).decode()
    except (binascii.Error, ValueError):
        target = HOME
    return (Attempt.of(secret) if secret else Attempt.begin()), target_of(target)


def _away(visit: Visit, to: str, error: ProviderAway) -> Response:
    log.warning("oidc_unavailable", error=str(error))
    sentence = _("Sign-in is not available now: %(why)s Try again in a moment, or paste a token.")
    return show(visit, to, 503, sentence % {"why": error})


def _refused(visit: Visit, to: str, sentence: str) -> Response:
    response = show(visit, to, 403, sentence)
    visit.here.sign_ins.attempt.delete(response)
    return response
