"""Waits for pools, and events that wake a generator."""

import json

from codewell.audit.promises import audit
from schemas.events import POOL_DEMAND, PROGRAM_CHANGED
from schemas.program import Program
from tests.support.running import until
from tests.support.site import Site

AUTOMATIC = {"campaign_can_create": True, "pool_max": 500}


async def until_full(site: Site, *programs: Program) -> None:
    """Wait until each pool is at its mark, and check that no code was generated beyond it."""
    for program in programs:

        async def full(program: Program = program) -> bool:
            return (await site.stock(program.name)).pooled >= program.pool_max

        await until(full, f"full pool of {program.name}")
    await check(site)


async def check(site: Site) -> None:
    assert await audit(site.database) == []


async def tell_changed(site: Site, program: Program, partition: int = 0) -> None:
    data = {"program_id": program.id, "name": program.name}
    await _tell(site, "program-changed", PROGRAM_CHANGED, program, data, partition)


async def tell_demand(site: Site, program: Program, partition: int = 0) -> None:
    await _tell(site, "pool-demand", POOL_DEMAND, program, {"program_id": program.id, "pooled": 0}, partition)


async def _tell(
    site: Site, topic: str, event_type: str, program: Program, data: dict[str, object], partition: int
) -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/test"), ("ce_type", event_type.encode())]
    await site.put(topic, json.dumps(data).encode(), headers, str(program.id).encode(), partition)
