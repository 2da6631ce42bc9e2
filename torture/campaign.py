"""The programs under test and an endless, seeded stream of requests for them."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from codewell.client.exchange import OutgoingRequest, build_request, publish_program_changed
from codewell.infra.kafka.clients import started_producer
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from codewell.reservations import reservations
from schemas.program import FallbackLink, Program, ProgramSettings, RemoteSource, TemplateSource
from schemas.reservations import ReservationChanges, ReservationRequest

# As in the guide, with a small pool and mark, so that the generator is busy and issuers run dry at times.
SPRING: Final = ProgramSettings(
    name="SPRING",
    title="Spring sale",
    source=TemplateSource(kind="template", template="{string 4}-{number 4}-{upstring 4}"),
    scenario_can_create=True,
    campaign_can_create=True,
    codes_max=10_000_000,
    allow_guessable=True,
    pool_max=1_500,
    ttl="P30D",
)
LOYAL: Final = SPRING.model_copy(update={"name": "LOYAL", "reuse": "profile", "pool_max": 100, "ttl": None})
EVERYBODY: Final = SPRING.model_copy(
    update={"name": "EVERYBODY", "shared": True, "codes_max": 1, "pool_max": 1, "ttl": None}
)
# One worker's claim often locks all its open blocks, so that the other workers wait.
TIGHT: Final = SPRING.model_copy(update={"name": "TIGHT", "pool_max": 10})
# Runs empty early; from then on it refuses until its maximum is raised.
SCARCE: Final = SPRING.model_copy(
    update={"name": "SCARCE", "codes_max": 60, "pool_max": 20, "scenario_can_create": False, "ttl": None}
)
# Uses up its codes and those of its first fallback early; from then on everybody's code is given.
SECOND: Final = SPRING.model_copy(update={"name": "SECOND", "codes_max": 40, "pool_max": 20, "ttl": None})
TIERED: Final = SECOND.model_copy(
    update={"name": "TIERED", "fallback": (FallbackLink(program="SECOND"), FallbackLink(program="EVERYBODY"))}
)
ALL: Final = (SPRING, LOYAL, EVERYBODY, TIGHT, SCARCE, SECOND, TIERED)
REMOTE: Final = "REMOTE"
UNHEARD_OF: Final = "UNHEARD_OF"

_RESERVE_S: Final = 10.0
_OPEN: Final = """
    SELECT p.id, r.id FROM program p
    LEFT JOIN reservation r ON r.program_id = p.id AND r.ended_at IS NULL AND r.source_id = $2 WHERE p.name = $1
    """
_PROFILES: Final = 400
# The first has no reservation at any time.
CAMPAIGNS: Final = ("spring", "autumn", "winter")
# The weights of these programs in requests, in the order of the request.
_WANTS: Final = {
    ("SPRING",): 50,
    ("TIGHT",): 10,
    ("LOYAL",): 12,
    ("EVERYBODY",): 4,
    ("SCARCE",): 4,
    (REMOTE,): 4,
    ("SPRING", "LOYAL"): 10,
    ("SPRING", "EVERYBODY"): 5,
    ("SPRING", "SCARCE"): 3,
    ("TIERED",): 5,
    ("SPRING", "TIERED"): 3,
    ("TIERED", "SCARCE"): 2,
    (UNHEARD_OF,): 2,
}


class Asked(NamedTuple):
    """A request to publish."""

    request: OutgoingRequest
    programs: tuple[str, ...]


async def create_programs(
    connection: asyncpg.Connection, bootstrap: str, prefix: str, service_url: str
) -> dict[str, Program]:
    """Create all programs, as `codewell program create` does."""
    remote = SPRING.model_copy(
        update={
            "name": REMOTE,
            "source": RemoteSource(kind="remote", url=service_url, request_max=20),
            "pool_max": 200,
            "ttl": None,
        }
    )
    made = {}
    async with started_producer(bootstrap) as producer:
        for settings in (*ALL, remote):
            program = await programs.create(connection, Minters(None), settings, guesses_per_s=10)
            assert await publish_program_changed(producer, prefix, program.id, program.name)
            made[program.name] = program
    return made


async def reserve(postgres_url: str, program: str, campaign: str, count: int) -> None:
    """Reserve codes for a campaign, or change how many it has. Raises what asyncpg raises, and CodewellError."""
    connection = await asyncpg.connect(postgres_url, timeout=_RESERVE_S, command_timeout=_RESERVE_S)
    try:
        [(program_id, open_id)] = await connection.fetch(_OPEN, program, campaign)
        if open_id is None:
            wanted = ReservationRequest(campaign_id=campaign, count=count, until=datetime.now(UTC) + timedelta(hours=1))
            await reservations.reserve(connection, Minters(None), program_id, wanted)
        else:
            await reservations.change(connection, Minters(None), program_id, open_id, ReservationChanges(count=count))
    finally:
        connection.terminate()


async def release_one(postgres_url: str, program: str, campaign: str) -> None:
    """Release the campaign's reservation, if it has one. Raises what asyncpg raises."""
    connection = await asyncpg.connect(postgres_url, timeout=_RESERVE_S, command_timeout=_RESERVE_S)
    try:
        [(program_id, open_id)] = await connection.fetch(_OPEN, program, campaign)
        if open_id is not None:
            await reservations.release(connection, program_id, open_id)
    finally:
        connection.terminate()


def requests(chance: random.Random) -> Iterator[Asked]:
    """Yield requests without end: of both types, for one program or two, with a template or a list of programs."""
    wants, weights = list(_WANTS), list(_WANTS.values())
    while True:
        profile_id = f"p-{chance.randrange(_PROFILES)}"
        [wanted] = chance.choices(wants, weights)
        # Some ids are of version 4, as some senders use them.
        request_id = UUID(int=chance.getrandbits(128), version=4) if chance.random() < 0.02 else None
        if len(wanted) == 1 and chance.random() < 0.4:
            step = {"profile_id": profile_id, "scenario_id": "welcome", "step_id": "s-3", "program": wanted[0]}
            yield Asked(build_request("scenario-step", step, request_id), wanted)
            continue
        message: dict[str, object] = {"profile_id": profile_id, "campaign_id": chance.choice(CAMPAIGNS)}
        if chance.random() < 0.5:
            message["template"] = "Hello! " + " and ".join(f"{{loyalty.{name}.promocode}}" for name in wanted)
        else:
            message["programs"] = wanted
        yield Asked(build_request("message-render", message, request_id), wanted)
