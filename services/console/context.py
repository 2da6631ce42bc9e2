"""What the endpoints work with."""

from dataclasses import dataclass

from fastapi import Request

from services.console.announcer import Announcer
from services.console.callers import Callers
from services.console.importer import Importer
from services.postgres.connection import Pool
from services.store.minters import Minters


@dataclass(frozen=True)
class Context:
    """One console's own: made once, handed to every endpoint."""

    pool: Pool
    minters: Minters
    callers: Callers
    announcer: Announcer
    guesses_per_s: float
    misses_per_minute: int
    importer: Importer


async def context(request: Request) -> Context:
    """The context of the console that serves this request."""
    found: Context = request.app.state.context
    return found
