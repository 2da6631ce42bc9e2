"""What is done to the workers and to Postgres."""

import asyncio
import random
import signal
from typing import Final

import asyncpg

from tests.e2e import consumer_groups
from tests.e2e.deployment import GENERATOR, ISSUERS, Deployment

_GENERATOR_SHARE: Final = 0.2
_EVICTED_SHARE: Final = 0.9
_MOMENT_MAX_S: Final = 0.3
_STILL_S: Final = 0.2
_FREEZES_MAX: Final = 500

_IN_TRANSACTION: Final = """
    SELECT pid, state_change FROM pg_stat_activity
    WHERE application_name = 'codewell-issuer' AND datname = current_database() AND state = 'idle in transaction'
    """


async def kill_at_any_moment(deployed: Deployment, chance: random.Random) -> None:
    """Kill one worker. Mostly Kafka is told at once that a member is gone, as its time-out would take most of the test.

    What is told of all members, so that the living ones are fenced with a batch in hand.
    """
    victim = GENERATOR if chance.random() < _GENERATOR_SHARE else chance.choice(ISSUERS)
    group = deployed.prefix + consumer_groups.ISSUER
    members = (await consumer_groups.described(deployed.bootstrap, group)).member_ids
    # Any moment of a batch is as likely as another.
    await asyncio.sleep(chance.uniform(0, _MOMENT_MAX_S))
    deployed.workers.send(victim, signal.SIGKILL)
    if victim in ISSUERS:
        await consumer_groups.evict(deployed.bootstrap, group, members)


async def kill_all_issuers(deployed: Deployment, chance: random.Random) -> None:
    """Kill all at nearly the same time, and leave it to Kafka to notice."""
    await deployed.issuers_work()
    for name in ISSUERS:
        await asyncio.sleep(chance.uniform(0, _MOMENT_MAX_S))
        deployed.workers.send(name, signal.SIGKILL)


async def freeze_in_claim(deployed: Deployment, chance: random.Random) -> str:
    """Stop an issuer in the middle of a transaction, in which it holds locked blocks, and return its name."""
    connection = await asyncpg.connect(deployed.database_url)
    try:
        for _ in range(_FREEZES_MAX):
            name = chance.choice(ISSUERS)
            await deployed.load.answers(more=chance.randrange(1, 20))
            deployed.workers.send(name, signal.SIGSTOP)
            before = await connection.fetch(_IN_TRANSACTION)
            await asyncio.sleep(_STILL_S)
            # Those of the others have gone on meanwhile.
            if before and set(before) & set(await connection.fetch(_IN_TRANSACTION)):
                return name
            deployed.workers.send(name, signal.SIGCONT)
    finally:
        await connection.close()
    raise AssertionError(f"none of {_FREEZES_MAX} moments was in a transaction")


async def kill_backends(deployed: Deployment, chance: random.Random) -> None:
    """End one session of the workers, or all of them at once."""
    connection = await asyncpg.connect(deployed.database_url, server_settings={"application_name": "fault"})
    try:
        pids = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'codewell-%'"
        )
        victims = pids if chance.random() < 0.5 else [chance.choice(pids)]
        for row in victims:
            await connection.execute("SELECT pg_terminate_backend($1)", row["pid"])
    finally:
        await connection.close()
