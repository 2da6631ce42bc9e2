"""The contenders of the issuer benchmark: the product, two usual builds, and two loops without a database."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from benchmarks import bare_issuer, librdkafka, usual_batches, usual_issuer
from benchmarks.backlog import REPLY_TOPIC, TOPIC
from codewell.infra.postgres.connection import Connection
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.programs import overview, programs
from schemas import topics
from schemas.program import ProgramSettings, TemplateSource


@dataclass(frozen=True)
class Contender:
    """A kind of process that answers requests."""

    name: str
    module: tuple[str, ...]
    """The arguments of `python -m`."""
    group: str
    """Its consumer group, without the prefix."""
    topics: tuple[str, ...]
    """The topics that it needs, without the prefix."""
    stock: Callable[[Connection, str, int], Awaitable[None]]
    """Creates a program of this name with `count` codes."""
    given: Callable[[Connection, str], Awaitable[int | None]]
    """The number of attached codes of the program; None where it is unknown."""
    wanted: Callable[[str, int], Sequence[str]] | None = None
    """The programs of a request, by program name and request number; without it each request is for the one program."""
    data: Callable[[str, int], Mapping[str, object]] | None = None
    """The whole request instead, by the same."""
    topic: str = TOPIC
    """The topic of its requests."""


async def _stock_product(connection: Connection, name: str, count: int) -> None:
    """A program like the guide's, with all rules on. Its maximum is reached, so that no issuer publishes a demand."""
    now = datetime.now(UTC)
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template="{string 4}-{number 4}-{upstring 4}"),
        codes_max=count,
        pool_max=count,
        valid_from=now - timedelta(days=1),
        valid_until=now + timedelta(days=30),
        scenario_can_create=True,
        campaign_can_create=True,
        ttl=timedelta(days=30),
        reuse="request",
    )
    minters = Minters(None)
    program = await programs.create(connection, minters, settings, guesses_per_s=10)
    await fill.generate(connection, minters, program.id, count, None)


async def _given_by_product(connection: Connection, name: str) -> int:
    return (await overview.stock(connection, name)).attached


async def _stock_nothing(_connection: Connection, _name: str, _count: int) -> None:
    """It has no database."""


async def _given_by_nobody(_connection: Connection, _name: str) -> None:
    """It has no database."""


PRODUCT: Final = Contender(
    "codewell",
    ("services", "issuer"),
    "codewell-issuer",
    tuple(topic.name for topic in topics.TOPICS),
    _stock_product,
    _given_by_product,
)
PEER: Final = Contender(
    "usual build",
    ("benchmarks.usual_issuer",),
    usual_issuer.GROUP,
    (TOPIC, REPLY_TOPIC),
    usual_issuer.stock,
    usual_issuer.given,
)
BATCHES: Final = replace(
    PEER, name="usual build in batches", module=("benchmarks.usual_batches",), group=usual_batches.GROUP
)
CEILING: Final = Contender(
    "no database",
    ("benchmarks.bare_issuer",),
    bare_issuer.GROUP,
    (TOPIC, REPLY_TOPIC),
    _stock_nothing,
    _given_by_nobody,
)
LIBRDKAFKA: Final = replace(CEILING, name="librdkafka", module=("benchmarks.librdkafka",), group=librdkafka.GROUP)
