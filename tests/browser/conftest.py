"""A console on the run's Postgres and Kafka, and a browser for it. The tests of a file share a Chromium.

So they share an event loop: `pytestmark = pytest.mark.asyncio(loop_scope="module")`. `browser` has a site of the test's
own. A file whose tests change nothing, or only what they made, shares one too: the fixture `house` or `visitor`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser as Chromium

from services.console.pages import app
from tests.support import styleguide
from tests.support.browser import Browser, launched, visiting
from tests.support.chromium import chromium
from tests.support.fixtures import own_database, own_topics
from tests.support.serving import serving
from tests.support.site import Site, open_site


class House(NamedTuple):
    """A console, its site, and a Chromium, for all tests of a file."""

    site: Site
    url: str
    chromium: Chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_chromium() -> AsyncIterator[Chromium]:
    if chromium() is None:
        pytest.skip("this machine has no Chromium, and apt brings none")
    async with launched() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(shared_chromium: Chromium, postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[House]:
    async with own_site(postgres_url, kafka_bootstrap) as site, serving(site) as url:
        yield House(site, url, shared_chromium)


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(house: House) -> AsyncIterator[Browser]:
    """A browser for the console that the file's tests share."""
    async with visiting(*house) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def site(postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[Site]:
    async with own_site(postgres_url, kafka_bootstrap) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared_chromium: Chromium, site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    """A browser for a console that serves the page of all parts as well."""
    monkeypatch.setattr(app, "_ROUTES", [*app._ROUTES, *app._included((), (styleguide,))])
    async with serving(site) as url, visiting(site, url, shared_chromium) as opened:
        yield opened


@asynccontextmanager
async def own_site(postgres_url: str, kafka_bootstrap: str) -> AsyncIterator[Site]:
    """A site with a database and topics of its own."""
    async with (
        own_database(postgres_url) as database_url,
        own_topics(kafka_bootstrap) as prefix,
        open_site(database_url, kafka_bootstrap, prefix) as opened,
    ):
        yield opened
