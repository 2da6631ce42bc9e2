"""The dependencies of pages: built once, beside those of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.types import ASGIApp

from codewell.infra.postgres.connection import Pool
from services.console.oidc.settings import Grant
from services.console.pages.live.sampler import Sampler
from services.console.pages.sign_ins import SignIns

if TYPE_CHECKING:
    # Its libraries are in an extra.
    from services.console.oidc.provider import Provider


RETURN_PATH: Final = "/sign-in/oidc/return"


class Oidc(NamedTuple):
    """The provider that people sign in with, its host, and what each of its groups allows."""

    provider: Provider
    host: str
    granted: Mapping[str, Grant]


@dataclass(frozen=True)
class PagesContext:
    """`api` is the API for pages, on their own connections; its callers are already authenticated."""

    pool: Pool
    api: ASGIApp
    sign_ins: SignIns
    sampler: Sampler
    """Reads figures for all open pages."""
    stop: asyncio.Event
    """Set when the console stops, which ends all streams."""
    own_origin: str | None
    """The origin of the console's public URL, where a proxy stands before it."""
    oidc: Oidc | None
    upload_bytes_max: int
