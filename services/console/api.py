"""The HTTP API. Errors are problems as in RFC 9457."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from schemas.events import ShortName
from schemas.program import Stock
from services.errors import ProgramRefused
from services.postgres.connection import UNAVAILABLE, Pool
from services.store import programs

_PROBLEM = "application/problem+json"


def create_api(pool: Pool) -> FastAPI:
    """The API on one database."""
    api = FastAPI(title="Codewell", version="1", docs_url=None, redoc_url=None)

    @api.get("/api/v1/programs/{name}/stock")
    async def stock(name: ShortName) -> Stock:
        """Where the program's codes are now."""
        async with pool.acquire() as connection:
            return await programs.stock(connection, name)

    @api.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail), error.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _problem(422, "The request can't be understood", f"{where}: {first['msg']}.")

    @api.exception_handler(ProgramRefused)
    async def not_found(_: Request, error: ProgramRefused) -> JSONResponse:
        return _problem(404, "No such program", str(error))

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        return _problem(503, "The database is away", f"Try again in a moment ({type(error).__name__}).")

    for kind in UNAVAILABLE:
        api.add_exception_handler(kind, unavailable)
    return api


def _problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(content, status, headers, _PROBLEM)
