"""Every error is a problem as in RFC 9457, and every endpoint documents its possible problems."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from codewell.errors import (
    CodeUnknown,
    CodewellError,
    FileRefused,
    ImportUnknown,
    ProfileRefused,
    ProfileUnknown,
    ProgramRefused,
    ProgramTaken,
    ProgramUnknown,
    RequestTaken,
    TemplateInvalid,
)
from codewell.infra.postgres.connection import UNAVAILABLE_ERRORS

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

# The nearest class applies; an error without a row of its own is a temporary fault of the stack (503).
_STATUS: Final[dict[type[CodewellError], int]] = {
    ProgramUnknown: 404,
    CodeUnknown: 404,
    ImportUnknown: 404,
    ProgramTaken: 409,
    RequestTaken: 422,
    ProgramRefused: 409,
    TemplateInvalid: 422,
    FileRefused: 422,
    ProfileUnknown: 404,
    ProfileRefused: 422,
    CodewellError: 503,
}
# The database is unavailable, or another transaction holds a needed lock; nothing was changed.
AWAY: Final = (
    *UNAVAILABLE_ERRORS,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.QueryCanceledError,
)

_WAIT: Final = {
    "Retry-After": {"description": "Seconds until the next attempt.", "schema": {"type": "integer", "minimum": 1}}
}
_UNREADABLE: Final = "The body is malformed: send JSON in UTF-8, or for imports a form with one file."
_MEANING: Final[dict[int, tuple[str, str]]] = {
    400: ("The body is malformed", _UNREADABLE),
    401: ("The token is missing or not valid", "Send the header Authorization: Bearer TOKEN with a valid token."),
    403: ("The token lacks a scope or an access group", "This request needs a token with the scope write."),
    404: ("Not found, or not visible to this token", "There is no program SPRING: list the programs."),
    408: ("The body arrived too slowly", "The body arrived too slowly: send it without pauses."),
    409: ("Conflicts with the current state", "The short name SPRING is taken: choose another one."),
    413: ("The body is too large", "A body may have 1,048,576 bytes: send less per request."),
    415: ("The body is not JSON", "Send JSON, with the header Content-Type: application/json."),
    422: ("The request is not valid", "body.codes_max: Field required."),
    429: ("Too many look-ups of unknown codes", "Try again in 20 s."),
    503: ("The database is unavailable or busy", "Try again in a moment (ConnectionRefusedError)."),
}  # fmt: skip


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the response's form. `detail` is a sentence for a person."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def refusal(error: CodewellError) -> JSONResponse:
    """The problem of a CodewellError."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return problem(status, str(error), _later(RETRY_AFTER_S) if status == HTTPStatus.SERVICE_UNAVAILABLE else None)


def unavailable(error: Exception) -> JSONResponse:
    """The problem while the database is unavailable or busy."""
    return problem(
        503,
        f"The database is unavailable or busy: try again in a moment ({type(error).__name__}).",
        _later(RETRY_AFTER_S),
    )


def try_later(status: int, detail: str, wait_s: int) -> HTTPException:
    """A problem with the time after which the client may retry (s)."""
    return HTTPException(status, detail, _later(wait_s))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of an endpoint for its OpenAPI document; those of every endpoint are added."""
    return {status: _documented(status) for status in sorted({401, 403, 422, 503, *statuses})}


def documented_making(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of an endpoint that takes a body and an idempotency key."""
    return documented(400, 408, 409, 413, 415, *statuses)


def _documented(status: int) -> dict[str, Any]:
    meaning, detail = _MEANING[status]
    example = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    headers = {
        401: {"WWW-Authenticate": {"description": "Always Bearer.", "schema": {"type": "string"}}},
        429: _WAIT,
        503: _WAIT,
    }
    return {"description": meaning, "content": content, "headers": headers.get(status, {})}


def handle(api: FastAPI) -> None:
    """Turn all exceptions of endpoints into problem responses."""

    @api.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_allowed(request))
            return problem(405, f"This path does not support {request.method}: use {allowed}.", {"Allow": allowed})
        if error.detail == HTTPStatus.NOT_FOUND.phrase:
            return problem(404, "There is nothing at this path: see /openapi.json for all paths.")
        if error.status_code == HTTPStatus.BAD_REQUEST:
            return problem(400, _UNREADABLE)
        return problem(error.status_code, str(error.detail), error.headers)

    @api.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # The kind of a source follows `source` as if it were a field of it.
        path = [
            str(part) for place, part in enumerate(first["loc"]) if not (place == 2 and first["loc"][1] == "source")
        ]
        where = ".".join(path)
        return problem(422, f"{where}: {first['msg'].removeprefix('Value error, ')}.")

    @api.exception_handler(CodewellError)
    async def _(_: Request, error: CodewellError) -> JSONResponse:
        return refusal(error)

    async def away(_: Request, error: Exception) -> JSONResponse:
        return unavailable(error)

    for kind in AWAY:
        api.add_exception_handler(kind, away)


def _allowed(request: Request) -> list[str]:
    """The methods of a path; several endpoints may share it, and each route lists only its own."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]


def _later(wait_s: int) -> dict[str, str]:
    return {"Retry-After": str(wait_s)}
