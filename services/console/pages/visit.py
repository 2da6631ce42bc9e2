"""What each endpoint of a page needs: the request, who is signed in, the API, and how to answer."""

import gzip
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from codewell.access.sessions import Session
from schemas.token import Scope
from services.console.http.problems import HttpProblem
from services.console.pages import forms, rendering
from services.console.pages.api_calls import Api
from services.console.pages.frame import is_from_own_page
from services.console.pages.pages_context import PagesContext

SIGN_IN: Final = "/sign-in"
# The stream of figures, which pages open by themselves.
LIVE: Final = "/live"


# The length of a compressed page tells of its content, so pages that show a secret are sent as they are.
_WITH_SECRETS: Final = frozenset({
    "screens/kept_form.html", "screens/secrets.html", "screens/sign_in_link.html", "screens/token_made.html",
    "screens/webhook_secret.html",
})  # fmt: skip
# Most of what there is to save; a page takes less than a millisecond.
_GZIP_LEVEL: Final = 4


class OtherSite(Exception):
    """A form that does not come from a page of this console."""


class NotSignedIn(Exception):
    """The page needs a session."""


class NoSuchPage(Exception):
    """This console does not have the page."""


class SignInAgain(Exception):
    """The page needs a session whose person signed in a short while ago."""


class Visit:
    """One request of a browser."""

    def __init__(self, request: Request) -> None:
        """`request` has passed `enter`."""
        self.request = request
        self.here: PagesContext = request.app.state.pages
        self._session: Session | None = request.state.session

    @property
    def session(self) -> Session:
        """The session. Raises NotSignedIn, which sends the browser to sign in and back."""
        if self._session is None:
            raise NotSignedIn
        return self._session

    @property
    def session_or_none(self) -> Session | None:
        """The session, or None."""
        return self._session

    @property
    def api(self) -> Api:
        """The API for the person who is signed in. Raises NotSignedIn."""
        return Api(self.here.api, self.session.caller)

    @property
    def is_partial(self) -> bool:
        """Whether a script asks for a part of a page that it puts into place."""
        return self.request.headers.get("hx-request") == "true"

    def may(self, *scopes: Scope) -> bool:
        """Whether the person has one of these scopes; `admin` includes all of them."""
        return self.session.caller.may(*scopes)

    def require(self, *scopes: Scope) -> None:
        """Refuse the page to a person without one of these scopes (403)."""
        if not self.may(*scopes):
            raise HttpProblem("scope_missing", f"This page needs the scope {' or '.join(scopes)}.")

    def render(self, template: str, /, *, status: int = 200, **view: Any) -> Response:
        """Answer with a template of `templates/`; it sees the view, and what `layout.html` needs.

        `back` in the view: the page's address, where it answers a form that was posted to another one.
        """
        always = {
            "visit": self,
            "session": self._session,
            "path": self.request.url.path,
            "back": self.address,
            "nonce": self.request.state.nonce,
            "theme": self.request.cookies.get("theme", "system"),
            "new_key": forms.new_key,
        }
        return _page(rendering.rendered(template, always | view).encode(), status, self._packs(template))

    @property
    def address(self) -> str:
        """The path of the request, with its query."""
        url = self.request.url
        return f"{url.path}?{url.query}" if url.query else url.path

    def _packs(self, template: str) -> bool:
        return template not in _WITH_SECRETS and "gzip" in self.request.headers.get("accept-encoding", "")

    def go(self, url: str) -> Response:
        """Answer a form that was done: the browser gets the other page by GET (303)."""
        return RedirectResponse(url, 303)

    def sign_in_url(self, to: str | None = None) -> str:
        """The page to sign in, which leads to this path, or back to this page."""
        target = to or (self.address if self.request.method == "GET" else "/programs")
        return f"{SIGN_IN}?to={quote(target, safe='/')}"


def _page(html: bytes, status: int, packs: bool) -> Response:
    headers = {"Vary": "Accept-Encoding"}
    if packs:
        html = gzip.compress(html, _GZIP_LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(html, status, headers)


async def enter(request: Request) -> None:
    """FastAPI dependency of all pages: refuses other sites' forms, and finds the session of the cookie.

    Raises OtherSite, and what asyncpg raises.
    """
    here: PagesContext = request.app.state.pages
    if not is_from_own_page(request.method, request.headers, here.own_origin):
        raise OtherSite
    request.state.session = await here.sign_ins.find(
        request.headers.get("cookie", ""), is_activity=request.url.path != LIVE
    )


async def require_session(request: Request) -> None:
    """FastAPI dependency of all pages but the sign-in: raises NotSignedIn."""
    if request.state.session is None:
        raise NotSignedIn


CurrentVisit = Annotated[Visit, Depends(Visit)]
PostedForm = Annotated[forms.Form, Depends(forms.read_form)]


def is_own_path(url: str) -> bool:
    """Whether it is a path of this console, and no other host's address in disguise."""
    return url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable()
