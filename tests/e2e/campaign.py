"""The programs of these tests, and an endless mix of requests for them."""

import random
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg

from schemas.events import PLACEHOLDER
from schemas.program import Program, ProgramSettings, TemplateSource
from services.client.exchange import Outgoing, announce, outgoing
from services.kafka.clients import started_producer
from services.store import programs
from services.store.minters import Minters

# As in the guide, with a small pool and mark, so that the generator is busy and issuers run dry now and then.
SPRING = ProgramSettings(
    name="SPRING",
    title="Spring sale",
    source=TemplateSource(kind="template", template="{string 4}-{number 4}-{upstring 4}"),
    scenario_can_create=True,
    campaign_can_create=True,
    codes_max=1_000_000,
    pool_max=1_500,
    ttl="P30D",
)
LOYAL = SPRING.model_copy(update={"name": "LOYAL", "reuse": "profile", "pool_max": 100, "ttl": None})
EVERYBODY = SPRING.model_copy(update={"name": "EVERYBODY", "shared": True, "codes_max": 1, "pool_max": 1, "ttl": None})
# One worker's claim often has all that is ready of it, so that the others have to wait.
TIGHT = SPRING.model_copy(update={"name": "TIGHT", "pool_max": 10})
# It runs empty early in the test, and from then on refuses.
SCARCE = SPRING.model_copy(
    update={"name": "SCARCE", "codes_max": 60, "pool_max": 20, "scenario_can_create": False, "ttl": None}
)
ALL = (SPRING, LOYAL, EVERYBODY, TIGHT, SCARCE)

_PROFILES = 400
# How often requests name these programs, in the order of the request.
_WANTS = {
    ("SPRING",): 50,
    ("TIGHT",): 10,
    ("LOYAL",): 12,
    ("EVERYBODY",): 4,
    ("SCARCE",): 4,
    ("SPRING", "LOYAL"): 10,
    ("SPRING", "EVERYBODY"): 5,
    ("SPRING", "SCARCE"): 3,
    ("UNHEARD_OF",): 2,
}


class Asked(NamedTuple):
    """One request as it was published, and what it wants."""

    request: Outgoing
    profile_id: str
    programs: tuple[str, ...]
    has_template: bool


async def create_programs(connection: asyncpg.Connection, bootstrap: str, prefix: str) -> dict[str, Program]:
    """Make all programs, as `codewell program create` does."""
    made = {}
    async with started_producer(bootstrap) as producer:
        for settings in ALL:
            program = await programs.create(connection, Minters(None), settings, guesses_per_s=10)
            assert await announce(producer, prefix, program.id, program.name)
            made[program.name] = program
    return made


def requests(chance: random.Random) -> Iterator[Asked]:
    """Requests for ever: of both kinds, for one program or two, with a template or a list of programs."""
    while True:
        profile_id = f"p-{chance.randrange(_PROFILES)}"
        [wanted] = chance.choices(list(_WANTS), list(_WANTS.values()))
        if len(wanted) == 1 and chance.random() < 0.4:
            step = {"profile_id": profile_id, "scenario_id": "welcome", "step_id": "s-3", "program": wanted[0]}
            yield Asked(outgoing("scenario-step", step), profile_id, wanted, has_template=False)
            continue
        message: dict[str, object] = {"profile_id": profile_id, "campaign_id": "spring"}
        has_template = chance.random() < 0.5
        if has_template:
            message["template"] = "Hello! " + " and ".join(f"{{loyalty.{name}.promocode}}" for name in wanted)
        else:
            message["programs"] = wanted
        yield Asked(outgoing("message-render", message), profile_id, wanted, has_template)


def rendered(template: str, codes: dict[str, str]) -> str:
    """The template with these codes in their places."""
    return PLACEHOLDER.sub(lambda match: codes[match[1]], template)
