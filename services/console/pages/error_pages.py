"""Every error of a page is a page too: it says what is wrong and what to do, with the status of the error."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from codewell.errors import CodewellError
from codewell.reasons import PROBLEMS
from services.console.http.problems import AWAY, HttpProblem
from services.console.pages.api_calls import ApiRefusal
from services.console.pages.keeping import go_and_sign_in
from services.console.pages.visit import NoSuchPage, NotSignedIn, OtherSite, SignInAgain, Visit
from services.console.pages.words import _


def handle(pages: FastAPI) -> None:
    """Turn all exceptions of pages into pages."""
    for kind, answer in _ANSWERS.items():
        pages.add_exception_handler(kind, _handler(answer))
    for needs_sign_in in (NotSignedIn, SignInAgain):
        pages.add_exception_handler(needs_sign_in, _sign_in)


def error_page(request: Request, status: int, sentence: str) -> Response:
    """A page with a sentence about what is wrong."""
    return Visit(request).render("screens/error.html", status=status, title=_title(status), sentence=sentence)


async def _sign_in(request: Request, _error: Exception) -> Response:
    return await go_and_sign_in(Visit(request))


def _other_site(request: Request, _error: Exception) -> Response:
    return error_page(request, 403, _("This form came from another site, so nothing was done."))


def _refused(request: Request, error: ApiRefusal) -> Response:
    return error_page(request, error.status, error.detail)


def _codewell(request: Request, error: CodewellError) -> Response:
    return error_page(request, PROBLEMS[error.reason].status, str(error))


def _http(request: Request, error: HTTPException) -> Response:
    if isinstance(error, HttpProblem):
        return error_page(request, error.status_code, error.detail)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return error_page(request, 400, _("The form can't be read: open the page again, and send it anew."))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "GET":
        return Visit(request).go(_page_above(request))
    return error_page(request, error.status_code, _("There is no such page."))


def _page_above(request: Request) -> str:
    """The page that has the form which goes to this path. A refused form leaves the browser at it, to ask for again."""
    path = request.url.path
    while path := path.rpartition("/")[0]:
        asked: Scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        if any(route.matches(asked)[0] is Match.FULL for route in request.app.routes):
            return path
    return "/"


def _not_found(request: Request, _error: Exception) -> Response:
    return error_page(request, 404, _("There is no such page."))


def _away(request: Request, _error: Exception) -> Response:
    return error_page(
        request, 503, _("The database is unavailable or busy. Nothing was changed: try again in a moment.")
    )


def _broken(request: Request, _error: Exception) -> Response:
    return error_page(request, 500, _("The console failed at this page. Its log says why."))


_ANSWERS: Final[dict[type[Exception], Callable[[Request, Any], Response]]] = {
    OtherSite: _other_site,
    ApiRefusal: _refused,
    CodewellError: _codewell,
    HTTPException: _http,
    RequestValidationError: _not_found,
    NoSuchPage: _not_found,
    **dict.fromkeys(AWAY, _away),
    Exception: _broken,
}


def _handler(answer: Callable[[Request, Any], Response]) -> Callable[[Request, Exception], Any]:
    async def handler(request: Request, error: Exception) -> Response:
        return answer(request, error)

    return handler


def _title(status: int) -> str:
    match status:
        case 404:
            return _("Not found")
        case 401 | 403:
            return _("Not allowed")
        case 503:
            return _("Not available now")
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _("An error")
        case _:
            return _("Not possible")
