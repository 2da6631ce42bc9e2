"""Builds the pages: an application of its own, on its own connections, which serves what the API does not."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from codewell.errors import ExtraMissing
from codewell.infra.config.urls import host_of
from codewell.infra.postgres.connection import Pool
from services.console.api import create_inner_api
from services.console.batching.attachments import ClaimBatcher
from services.console.batching.till import TillBatcher
from services.console.context import Context
from services.console.http.auth import API_PREFIX, Authenticator
from services.console.http.body_limit import BodyLimit
from services.console.http.stream_limit import StreamLimit
from services.console.pages import error_pages, static_files
from services.console.pages.frame import Frame
from services.console.pages.live.sampler import Sampler
from services.console.pages.pages_context import RETURN_PATH, Oidc, PagesContext
from services.console.pages.screens import (
    alerts,
    audit_log,
    bulk_changes,
    code,
    codes,
    dead_letters,
    edit_program,
    exports,
    generate,
    importing,
    jump,
    kept_form,
    live,
    loyalty,
    new_program,
    oidc_sign_in,
    operations,
    profiles,
    program,
    promises,
    reservations,
    sign_in,
    theme,
    tokens,
    try_it,
    webhooks,
)
from services.console.pages.sign_ins import SignIns
from services.console.pages.visit import enter, require_session
from services.console.settings import ConsoleSettings

CONNECTIONS_MAX: Final = 4
STATEMENT_TIMEOUT_S: Final = 5.0
_UPLOAD: Final = re.compile(r"/programs/[^/]+/import")
# Those of `_OPEN` need no session.
_OPEN: Final = (
    sign_in,
    oidc_sign_in,
    theme,
)
# What pages ask for by themselves.
_STREAMS: Final = (live,)
_SCREENS: Final = (
    # Before the programs' own pages: /programs/new is no program.
    new_program,
    edit_program,
    profiles,
    try_it,
    alerts,
    audit_log,
    bulk_changes,
    code,
    codes,
    dead_letters,
    exports,
    generate,
    importing,
    jump,
    kept_form,
    loyalty,
    operations,
    program,
    promises,
    reservations,
    tokens,
    webhooks,
)


def _included(opened: Sequence[ModuleType], screens: Sequence[ModuleType]) -> list[BaseRoute]:
    """The routes of these modules, for all applications of this process."""
    router = APIRouter()
    for module in opened:
        router.include_router(module.router, dependencies=[Depends(enter)])
    for module in screens:
        router.include_router(module.router, dependencies=[Depends(enter), Depends(require_session)])
    return router.routes


_ROUTES: Final = _included(_OPEN, (*_SCREENS, *_STREAMS))


def add_pages(api: FastAPI, context: Context, pool: Pool, settings: ConsoleSettings, stop: asyncio.Event) -> FastAPI:
    """Serve the pages by the API's application, for all paths that are not the API's. They use `pool`, and `stop` ends
    their streams.

    Returns the application of the pages. Raises ExtraMissing when a setting needs libraries that are not installed.
    """
    pages = create_pages(context, pool, settings, stop)
    # Around the whole application: its page about an exception comes from outside of its own middleware.
    framed = Frame(pages)
    refuse = api.router.default

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        await (refuse if scope["path"].startswith(API_PREFIX) else framed)(scope, receive, send)

    api.router.default = default
    return pages


def routes() -> list[APIRoute]:
    """The routes of all pages that need a session."""
    routers = [module.router for module in (*_SCREENS, *_STREAMS)]
    return [one for router in routers for one in router.routes if isinstance(one, APIRoute)]


def create_pages(context: Context, pool: Pool, settings: ConsoleSettings, stop: asyncio.Event) -> FastAPI:
    """The pages of one console."""
    inner = create_inner_api(
        replace(
            context,
            pool=pool,
            authenticator=Authenticator(pool),
            claims=ClaimBatcher(pool, context.minters, context.announcer.demand, context.usage),
            till=TillBatcher(pool, context.minters, context.usage),
            exports=StreamLimit(pool, "exports"),
            bad_rows=StreamLimit(pool, "lists of bad rows"),
            change_lists=StreamLimit(pool, "lists of changed codes"),
        )
    )
    origin = None
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        origin = f"{parts.scheme}://{parts.netloc}"
    is_secure = origin is not None and origin.startswith("https:")
    pages = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[Middleware(BodyLimit, context.importer.limits.bytes_max, _is_upload, "/")],
    )
    sign_ins = SignIns(pool, is_secure=is_secure)
    pages.state.pages = PagesContext(
        pool,
        inner,
        sign_ins,
        Sampler(pool, context.lag),
        stop,
        origin,
        _oidc(settings, origin),
        context.importer.limits.bytes_max,
    )
    pages.include_router(static_files.router)
    pages.routes.extend(_ROUTES)
    error_pages.handle(pages)
    return pages


def _oidc(settings: ConsoleSettings, origin: str | None) -> Oidc | None:
    """The provider of the settings. Raises ExtraMissing when the libraries for it are not installed."""
    if settings.oidc_issuer is None:
        return None
    try:
        from services.console.oidc.provider import Provider
    except ImportError as error:
        raise ExtraMissing(
            'CODEWELL_OIDC_ISSUER needs httpx and joserfc, which are not installed: pip install "codewell[oidc]".'
        ) from error
    provider = Provider(settings.oidc_issuer, settings, f"{origin}{RETURN_PATH}")
    return Oidc(provider, host_of(settings.oidc_issuer), settings.oidc_groups)


def _is_upload(scope: Scope) -> bool:
    return _UPLOAD.fullmatch(scope["path"]) is not None
