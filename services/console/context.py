"""The dependencies of the endpoints."""

from dataclasses import dataclass
from typing import Self

from fastapi import Request

from codewell.infra.postgres.connection import Pool
from codewell.pool.minter_cache import Minters
from services.console.background.announcer import Announcer
from services.console.background.importer import Importer
from services.console.batching.activations import Activations
from services.console.batching.attachments import ClaimBatcher
from services.console.http.auth import Authenticator
from services.console.http.concurrency_limit import ConcurrencyLimit
from services.console.http.failed_lookup_limiter import FailedLookupLimiter
from services.console.http.negative_cache import NegativeCache
from services.console.settings import ConsoleSettings


@dataclass(frozen=True)
class Context:
    """The dependencies of one console: built once, injected into every endpoint."""

    pool: Pool
    minters: Minters
    authenticator: Authenticator
    announcer: Announcer
    claims: ClaimBatcher
    activations: Activations
    failed_lookups: FailedLookupLimiter
    negative_cache: NegativeCache
    guesses_per_s: float
    exports: ConcurrencyLimit
    importer: Importer

    @classmethod
    def of(cls, settings: ConsoleSettings, pool: Pool) -> Self:
        """Build the dependencies from the settings."""
        minters = Minters(*settings.master_keys)
        return cls(
            pool=pool,
            minters=minters,
            authenticator=Authenticator(pool),
            announcer=Announcer(settings.kafka_config, settings.topic_prefix),
            claims=ClaimBatcher(pool, minters),
            activations=Activations(pool, minters),
            failed_lookups=FailedLookupLimiter(pool, settings.misses_per_minute),
            negative_cache=NegativeCache(pool, minters),
            guesses_per_s=settings.guesses_per_s,
            exports=ConcurrencyLimit(),
            importer=Importer(pool, minters, settings.import_limits),
        )


async def context(request: Request) -> Context:
    """FastAPI dependency: the context of the console that serves this request."""
    found: Context = request.app.state.context
    return found
