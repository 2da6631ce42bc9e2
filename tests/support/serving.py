"""A whole console in this process, as `codewell-console` starts it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from services.console import main
from services.console.settings import ConsoleSettings
from tests.support.running import running, until
from tests.support.site import Site


@asynccontextmanager
async def serving(site: Site, **given: object) -> AsyncIterator[str]:
    """A console that runs during the block; yields its URL, such as http://127.0.0.1:40123."""
    settings = ConsoleSettings(**site.settings("console") | {"api_port": 0} | given)
    with capture_logs() as logs:
        async with running(main.serve, settings):

            async def served() -> bool:
                return {entry["event"] for entry in logs} >= {"api_served", "ready"}

            await until(served, "console that serves and has its database")
            [port] = [entry["port"] for entry in logs if entry["event"] == "api_served"]
            yield f"http://127.0.0.1:{port}"
