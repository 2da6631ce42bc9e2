"""Every error is a problem as in RFC 9457, and every endpoint documents its possible problems."""

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from codewell.errors import CodewellError
from codewell.infra.postgres.connection import CONTENTION_ERRORS, UNAVAILABLE_ERRORS
from codewell.reasons import PROBLEMS, ProblemReason, problem_document
from codewell.validation import mistake
from services.console.http.field_problems import FieldProblems, field_problems, of_setting

_UPLOAD: Final = ("body", "file")
MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

# The database is unavailable, or another transaction holds a needed lock; nothing was changed.
AWAY: Final = (*UNAVAILABLE_ERRORS, *CONTENTION_ERRORS)
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_WAIT: Final = {
    "Retry-After": {"description": "Seconds until the next attempt.", "schema": {"type": "integer", "minimum": 1}}
}
_EVERYWHERE: Final[tuple[ProblemReason, ...]] = (
    "token_invalid",
    "scope_missing",
    "field_invalid",
    "internal_error",
    "database_unavailable",
    "unavailable",
)
_EXAMPLE_MEMBERS: Final[dict[ProblemReason, Mapping[str, object]]] = {
    "reservation_short": {
        "figures": {
            "count": 1_000, "reserved": 950, "shortfall": 50, "limit": "maximum",
            "parts": {"pooled": 50, "minted": 900, "on_order": 0, "expiring_before_send": 0},
        }
    }
}  # fmt: skip

WITH_BODY: Final[tuple[ProblemReason, ...]] = ("body_malformed", "body_not_json", "body_too_large", "body_too_slow")
"""The problems of an endpoint that takes a body."""
MAKING: Final[tuple[ProblemReason, ...]] = (*WITH_BODY, "idempotency_key_busy", "idempotency_key_reused")
"""The problems of an endpoint that takes a body and an idempotency key."""

_EXAMPLE_ERRORS: Final[dict[ProblemReason, FieldProblems]] = {
    "field_invalid": [{"pointer": "#/codes_max", "detail": "give a value, it is required"}],
    "program_taken": of_setting("name", PROBLEMS["program_taken"].example),
    "template_invalid": of_setting("source.template", PROBLEMS["template_invalid"].example),
}


class HttpProblem(HTTPException):
    """A refusal that only the HTTP API knows. The sentence says what is wrong, and what to do about it."""

    def __init__(
        self,
        reason: ProblemReason,
        sentence: str,
        headers: Mapping[str, str] | None = None,
        *,
        setting: str | None = None,
    ) -> None:
        super().__init__(PROBLEMS[reason].status, sentence, headers)
        self.reason = reason
        self.setting = setting


def problem(
    reason: ProblemReason,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: FieldProblems | None = None,
    members: Mapping[str, object] = MappingProxyType({}),
) -> JSONResponse:
    """An error in the response's form. `detail` is a sentence for a person; `errors` names the invalid fields."""
    document = problem_document(reason, detail, errors or (), members)
    return JSONResponse(document, PROBLEMS[reason].status, headers, MEDIA_TYPE)


def refusal(error: CodewellError) -> JSONResponse:
    """The problem of a CodewellError."""
    is_passing = PROBLEMS[error.reason].status == HTTPStatus.SERVICE_UNAVAILABLE
    errors = None if error.setting is None else of_setting(error.setting, str(error))
    return problem(error.reason, str(error), _later(RETRY_AFTER_S) if is_passing else None, errors, error.members)


def unavailable(error: Exception) -> JSONResponse:
    """The problem while the database is unavailable or busy, or the console's disk is full."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        sentence = "The console has no disk space left for this file: try again later, or send a smaller one."
        return problem("unavailable", sentence, _later(RETRY_AFTER_S))
    return problem(
        "database_unavailable",
        f"The database is unavailable or busy: try again in a moment ({type(error).__name__}).",
        _later(RETRY_AFTER_S),
    )


def answer_to(error: Exception) -> JSONResponse | None:
    """The problem of an error that says what is wrong with a request, or that the database is away; else None."""
    match error:
        case HttpProblem():
            errors = None if error.setting is None else of_setting(error.setting, error.detail)
            return problem(error.reason, error.detail, error.headers, errors)
        case CodewellError():
            return refusal(error)
    return unavailable(error) if isinstance(error, AWAY) else None


def try_later(reason: ProblemReason, detail: str, wait_s: int) -> HttpProblem:
    """A problem with the time after which the client may retry (s)."""
    return HttpProblem(reason, detail, _later(wait_s))


def documented(*reasons: ProblemReason) -> dict[int | str, dict[str, Any]]:
    """The problems of an endpoint for its OpenAPI document; those of every endpoint are added."""
    of_status: dict[int, list[ProblemReason]] = {}
    for reason in sorted({*_EVERYWHERE, *reasons}):
        of_status.setdefault(PROBLEMS[reason].status, []).append(reason)
    return {status: _documented(status, of_status[status]) for status in sorted(of_status)}


def examples() -> dict[str, Any]:
    """An example of each reason, for the components of the OpenAPI document."""
    return {
        reason: {
            "summary": kind.title,
            "value": problem_document(
                reason, kind.example, _EXAMPLE_ERRORS.get(reason, ()), _EXAMPLE_MEMBERS.get(reason, {})
            ),
        }
        for reason, kind in PROBLEMS.items()
    }


def _documented(status: int, reasons: Sequence[ProblemReason]) -> dict[str, Any]:
    meanings = "; ".join(PROBLEMS[reason].title for reason in reasons)
    named = {reason: {"$ref": f"#/components/examples/{reason}"} for reason in reasons}
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": named}}
    headers = {
        401: {"WWW-Authenticate": {"description": "Always Bearer.", "schema": {"type": "string"}}},
        429: _WAIT,
        503: _WAIT,
    }
    return {"description": meanings, "content": content, "headers": headers.get(status, {})}


def handle(api: FastAPI) -> None:
    """Turn all exceptions of endpoints into problem responses."""

    @api.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        # What the framework raises.
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_allowed(request))
            sentence = f"This path does not support {request.method}: use {allowed}."
            return problem("method_not_allowed", sentence, {"Allow": allowed})
        if error.status_code == HTTPStatus.NOT_FOUND:
            return problem("path_unknown", PROBLEMS["path_unknown"].example)
        return problem("body_malformed", PROBLEMS["body_malformed"].example)

    @api.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error.errors())

    async def answer(_: Request, error: Exception) -> JSONResponse:
        response = answer_to(error)
        if response is None:
            raise error
        return response

    for kind in (HttpProblem, CodewellError, *AWAY):
        api.add_exception_handler(kind, answer)


def _invalid(found: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """The problem of the mistakes that FastAPI or pydantic found; its sentence is about the first."""
    first = found[0]
    if first["type"] == "json_invalid":
        return problem("body_malformed", PROBLEMS["body_malformed"].example)
    if isinstance(first.get("input"), str) and first["loc"] == _UPLOAD:
        words = "must be a file, sent as a part of a form with a file name"
        return problem("field_invalid", f"body.file: {words}.", errors=of_setting("file", words))
    return problem("field_invalid", f"{mistake(first, 'body')}.", errors=field_problems(found))


def _allowed(request: Request) -> list[str]:
    """The methods of a path; several endpoints may share it, and each route lists only its own."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]


def _later(wait_s: int) -> dict[str, str]:
    return {"Retry-After": str(wait_s)}
