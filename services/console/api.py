"""Builds the HTTP API: middleware, routes and the OpenAPI document."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from codewell.infra.telemetry.tracing import Tracing
from services.console import openapi
from services.console.context import Context
from services.console.http import problems
from services.console.http.auth import API_PREFIX, AuthMiddleware
from services.console.http.body_limit import BodyLimit, is_api_upload
from services.console.http.fast_path import FastPath
from services.console.http.request_ids import RequestIds
from services.console.routes import (
    alerts,
    audit_log,
    bulk_changes,
    code_history,
    code_lifecycle,
    code_searches,
    codes,
    codes_anywhere,
    dead_letters,
    exports,
    forecasts,
    imports,
    orders,
    overviews,
    previews,
    problem_pages,
    profiles,
    programs,
    promises,
    receipts,
    reissues,
    remote,
    remote_tests,
    reservations,
    selections,
    templates,
    till,
    tokens,
    uploads,
    usage,
    webhook_deliveries,
    webhooks,
)

_PREFIX: Final = "/api/v1"
# Routes are matched in this order, so the most frequent ones come first.
_MODULES: Final = (
    code_lifecycle,
    codes,
    codes_anywhere,
    reissues,
    previews,
    code_history,
    programs,
    overviews,
    forecasts,
    alerts,
    receipts,
    remote,
    remote_tests,
    reservations,
    imports,
    bulk_changes,
    exports,
    profiles,
    templates,
    till,
    orders,
    tokens,
    dead_letters,
    audit_log,
    usage,
    promises,
    webhooks,
    webhook_deliveries,
)
# What pages alone need.
_OF_PAGES: Final = (code_searches, selections, uploads)


def _included(modules: Sequence[ModuleType]) -> APIRouter:
    """The routes of all APIs of this process: what FastAPI derives from each takes it a quarter of a second."""
    router = APIRouter(generate_unique_id_function=openapi.operation_id)
    for module in modules:
        router.include_router(module.router, prefix=_PREFIX)
    return router


_ROUTES: Final = _included(_MODULES).routes
_ROUTES_OF_PAGES: Final = _included(_OF_PAGES).routes


class _Api(FastAPI):
    fast_path: FastPath | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await (self.serve if self.fast_path is None else self.fast_path)(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by middleware and endpoints."""
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            openapi.finish(super().openapi(), _PREFIX, [module.router for module in _MODULES])
        return super().openapi()


def create_api(context: Context, tracing: Tracing | None = None) -> FastAPI:
    """The API of one console."""
    api = _create(
        context,
        [Middleware(RequestIds, tracing), Middleware(AuthMiddleware, context.authenticator)],
    )
    api.include_router(problem_pages.router)
    api.fast_path = FastPath(context, api.serve, tracing)
    return api


def create_inner_api(context: Context) -> FastAPI:
    """The API for pages of this process: the state of each request's scope already has its `caller`."""
    api = _create(context, [])
    api.routes.extend(_ROUTES_OF_PAGES)
    return api


def _create(context: Context, first: Sequence[Middleware]) -> _Api:
    api = _Api(
        title="Codewell",
        version="1",
        description=openapi.DESCRIPTION,
        license_info=openapi.LICENSE,
        contact=openapi.CONTACT,
        servers=openapi.SERVERS,
        openapi_tags=openapi.TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans and logs contain paths, queries and error texts, and so codes and profile ids.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            *first,
            Middleware(BodyLimit, context.importer.limits.bytes_max, is_api_upload, API_PREFIX, context.uploads),
        ],
    )
    api.state.context = context
    api.routes.extend(_ROUTES)
    problems.handle(api)
    return api
