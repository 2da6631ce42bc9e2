"""Pool demands of commands: a command that takes codes from a pool asks the generator to fill it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from services.cli.output import say

if TYPE_CHECKING:
    from codewell.issuing.claim import Claims
    from codewell.issuing.claim_result import ClaimResult
    from codewell.issuing.model import Request
    from codewell.pool.demand import LowPool

# A command needs no answer from the generator, so it waits for Kafka only briefly.
_TIMEOUT_S: Final = 5.0


async def publish_demands(stack: Any, low_pools: "Mapping[int, LowPool]") -> None:
    """Publish a demand for each pool below its mark. Prints a warning, and raises nothing, when Kafka fails."""
    from aiokafka.errors import KafkaError

    from codewell.client.exchange import publish_pool_demand
    from codewell.errors import CodewellError
    from codewell.infra.kafka.clients import started_producer

    if not low_pools:
        return
    took = False
    try:
        async with asyncio.timeout(_TIMEOUT_S), started_producer(stack.kafka_config) as producer:
            published = [
                await publish_pool_demand(producer, stack.topic_prefix, program_id, low.pooled)
                for program_id, low in low_pools.items()
            ]
            took = all(published)
    except (CodewellError, KafkaError, TimeoutError):
        took = False
    if not took:
        say("Kafka did not take the pool-demand event: the generator's next sweep fills the pool.", err=True)


async def demand_if_low(connection: Any, stack: Any, program_id: int) -> None:
    """Publish a demand if this pool is below its mark now. Raises what asyncpg raises."""
    from codewell.pool.demand import read_low_pool

    low = await read_low_pool(connection, program_id)
    await publish_demands(stack, {} if low is None else {program_id: low})


class DemandingClaims:
    """Same interface as `Claims`; publishes a demand for each pool that a claim found below its mark, once."""

    def __init__(self, claims: "Claims", stack: Any) -> None:
        self._claims = claims
        self._stack = stack
        self._published: set[int] = set()

    @property
    def names(self) -> Mapping[int, str]:
        """Short name by program id."""
        return self._claims.names

    async def attach(self, requests: "Sequence[Request]") -> "ClaimResult":
        """Decide the requests, then publish the demands. Raises what asyncpg raises."""
        claimed = await self._claims.attach(requests)
        low_pools = {key: low for key, low in claimed.low.items() if key not in self._published}
        self._published |= low_pools.keys()
        await publish_demands(self._stack, low_pools)
        return claimed
