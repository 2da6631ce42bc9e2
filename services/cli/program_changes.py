"""Changes of a program by a command, which are announced to the generator."""

from collections.abc import Awaitable, Callable
from typing import Any

from schemas.program import Program
from services.cli.output import say, with_database


def change_and_announce(change: Callable[[Any, Any, float], Awaitable[Program]]) -> Program:
    """Create or change a program, and publish the change so that the generator fills the pool at once."""
    from codewell.client.exchange import publish_program_changed
    from codewell.infra.kafka.clients import started_producer
    from codewell.pool.minter_cache import Minters

    async def work(connection: Any, stack: Any) -> Program:
        # Connect to Kafka first: when it is unreachable, nothing is changed.
        async with started_producer(stack.kafka_config) as producer:
            changed = await change(connection, Minters(*stack.master_keys), stack.guesses_per_s)
            if not await publish_program_changed(producer, stack.topic_prefix, changed.id, changed.name):
                say("Kafka did not take the pool-demand event: the generator's next sweep fills the pool.", err=True)
        return changed

    return with_database(work)
