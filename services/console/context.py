"""The dependencies of the endpoints."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Self

from fastapi import Request

from codewell.infra.postgres.connection import Connection, Pool
from codewell.pool.demand import read_low_pool
from codewell.pool.minter_cache import Minters
from codewell.returns.settle import Returns
from codewell.usage.tally import UsageTally
from codewell.webhooks.sending import Courier
from services.console.background.announcer import Announcer
from services.console.background.bulk_changer import BulkChanger
from services.console.background.chain_verifier import ChainVerifier
from services.console.background.importer import Importer
from services.console.background.lag_reader import LagReader
from services.console.background.promise_checker import PromiseChecker
from services.console.batching.attachments import ClaimBatcher
from services.console.batching.till import TillBatcher
from services.console.dead_letter_access import DeadLetterAccess
from services.console.http.auth import Authenticator
from services.console.http.failed_lookup_limiter import FailedLookupLimiter
from services.console.http.negative_cache import NegativeCache
from services.console.http.remote_tests import RemoteTests
from services.console.http.stream_limit import UPLOADS_PER_TOKEN_MAX, StreamLimit
from services.console.settings import ConsoleSettings


@dataclass(frozen=True)
class Context:
    """The dependencies of one console: built once, injected into every endpoint."""

    pool: Pool
    minters: Minters
    authenticator: Authenticator
    announcer: Announcer
    claims: ClaimBatcher
    till: TillBatcher
    failed_lookups: FailedLookupLimiter
    negative_cache: NegativeCache
    guesses_per_s: float
    exports: StreamLimit
    bad_rows: StreamLimit
    uploads: StreamLimit
    change_lists: StreamLimit
    importer: Importer
    bulk_changer: BulkChanger
    dead_letters: DeadLetterAccess
    audit_chain: ChainVerifier
    remote_tests: RemoteTests
    usage: UsageTally
    returns: Returns
    lag: LagReader
    promise_checker: PromiseChecker
    courier: Callable[[], AbstractAsyncContextManager[Courier]]
    """Makes what sends test messages to webhooks, for one of them."""
    has_mail_server: bool

    @classmethod
    def of(cls, settings: ConsoleSettings, pool: Pool, usage: UsageTally | None = None) -> Self:
        """Build the dependencies from the settings. `usage` gets what is given and activated here."""
        usage = UsageTally() if usage is None else usage
        minters = Minters(*settings.master_keys)
        announcer = Announcer(settings.kafka_config, settings.topic_prefix)
        return cls(
            pool=pool,
            minters=minters,
            authenticator=Authenticator(pool),
            announcer=announcer,
            claims=ClaimBatcher(pool, minters, announcer.demand, usage),
            till=TillBatcher(pool, minters, usage),
            failed_lookups=FailedLookupLimiter(pool, settings.misses_per_minute, settings.token_misses_per_minute),
            negative_cache=NegativeCache(pool, minters),
            guesses_per_s=settings.guesses_per_s,
            exports=StreamLimit(pool, "exports"),
            bad_rows=StreamLimit(pool, "lists of bad rows"),
            uploads=StreamLimit(pool, "uploads", UPLOADS_PER_TOKEN_MAX),
            change_lists=StreamLimit(pool, "lists of changed codes"),
            importer=Importer(pool, minters, settings.import_limits),
            bulk_changer=BulkChanger(pool, announcer),
            dead_letters=DeadLetterAccess(settings.kafka_config, settings.topic_prefix),
            audit_chain=ChainVerifier(pool),
            remote_tests=RemoteTests(settings.remote_timeout_s, settings.remote_networks),
            usage=usage,
            returns=Returns(settings.returns_share_max),
            lag=LagReader(settings.kafka_config, settings.topic_prefix),
            promise_checker=PromiseChecker(pool),
            courier=lambda: aclosing(Courier(settings, settings.remote_networks)),
            has_mail_server=settings.smtp_host is not None,
        )

    async def demand_if_low(self, connection: Connection, program_id: int | None) -> None:
        """Have the generator fill this pool if it is below its mark. Raises what asyncpg raises."""
        low = None if program_id is None else await read_low_pool(connection, program_id)
        if program_id is not None and low is not None:
            self.announcer.demand({program_id: low})


async def context(request: Request) -> Context:
    """FastAPI dependency: the context of the console that serves this request."""
    found: Context = request.app.state.context
    return found
