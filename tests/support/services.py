"""All services in this process, on the run's servers, and commands that find them.

A stack of its own costs 20 s of a processor, this one. It shows the same but for the processes themselves, which
`tests/e2e/test_standalone.py` and the demo have.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.testing import capture_logs

from tests.support.commands import Caller
from tests.support.fixtures import own_database, own_topics
from tests.support.serving import serving
from tests.support.site import Site, open_site


class Services(Caller):
    """An issuer, a generator that sweeps at its start only, and a console, on a database and topics of their own."""

    def __init__(self, folder: Path, site: Site, api_url: str) -> None:
        super().__init__(
            folder,
            CODEWELL_HOME=str(folder / "home"),
            CODEWELL_POSTGRES_URL=site.postgres_url,
            CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
            CODEWELL_TOPIC_PREFIX=site.prefix,
        )
        self.site = site
        self.api_url = api_url


@asynccontextmanager
async def running_services(
    folder: Path, postgres_url: str, kafka_bootstrap: str, **of_generator: object
) -> AsyncIterator[Services]:
    """The services run during the block. What they log is kept from the output of commands."""
    async with (
        own_database(postgres_url) as database_url,
        own_topics(kafka_bootstrap) as prefix,
        open_site(database_url, kafka_bootstrap, prefix) as site,
    ):
        with capture_logs():
            async with site.issuer(), site.generator(**of_generator), serving(site) as url:
                yield Services(folder, site, url)
