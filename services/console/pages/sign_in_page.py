"""The page that offers the ways to sign in."""

from typing import Final

from fastapi.responses import Response

from services.console.pages.visit import Visit, is_own_path

HOME: Final = "/programs"


def show(
    visit: Visit, to: str, status: int = 200, error: str | None = None, *, token_error: str | None = None
) -> Response:
    """The page; `to` is where the person was going. A person who is signed in signs in again, the same way.

    `token_error` is about the pasted token, and `error` about any other way.
    """
    session = visit.session_or_none
    oidc = visit.here.oidc
    return visit.render(
        "screens/sign_in.html",
        status=status,
        to=target_of(to),
        error=error,
        token_error=token_error,
        again=session is not None,
        kind=None if session is None else session.kind,
        provider=None if oidc is None else oidc.host,
    )


def target_of(to: str) -> str:
    """Where to go after signing in: a path of this console."""
    return to if is_own_path(to) else HOME
