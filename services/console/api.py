"""Builds the HTTP API: middleware, routes and the OpenAPI document."""

from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from codewell.infra.telemetry.tracing import Tracing
from schemas.api import Problem
from services.console.context import Context
from services.console.http.auth import AuthMiddleware
from services.console.http.body_limit import BodyLimit
from services.console.http.fast_path import FastPath
from services.console.http.problems import handle
from services.console.http.request_ids import RequestIds
from services.console.routes import code_lifecycle, codes, exports, imports, profiles, programs, remote

_PREFIX: Final = "/api/v1"


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document with the schema of problems, which is no endpoint's response model."""
        if self.openapi_schema is None:
            super().openapi()["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return super().openapi()


def create_api(context: Context, tracing: Tracing | None = None) -> FastAPI:
    """The API of one console."""
    api = _Api(
        title="Codewell",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans and logs contain paths, queries and error texts, and so codes and profile ids.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(RequestIds, tracing),
            Middleware(AuthMiddleware, context.authenticator),
            Middleware(BodyLimit, context.importer.limits.bytes_max),
        ],
    )
    api.state.context = context
    # Routes are matched in this order, so the most frequent ones come first.
    for module in (code_lifecycle, codes, programs, remote, imports, exports, profiles):
        api.include_router(module.router, prefix=_PREFIX)
    api.router.routes.insert(0, FastPath(context, api.router))
    handle(api)

    return api
