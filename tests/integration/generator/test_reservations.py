"""A generator ends reservations that are due, and publishes what happened to each, at least once and in order."""

import json

from codewell.issuing.claim import Claims
from codewell.pool.minter_cache import Minters
from codewell.reservations import reservations, states
from tests.integration.reservations.test_claims import reserve
from tests.support.factories import OFF, message
from tests.support.pools import check
from tests.support.site import Site
from tests.support.stock import attach_all


async def test_events_of_a_reservation_from_its_codes_to_its_end(site: Site, claims: Claims) -> None:
    program = await site.program("SPRING", **OFF)
    async with site.generator():
        mine = await reserve(site.database, Minters(None), program.id, 10)
        for count, events in ((8, 2), (2, 3)):
            await site.came("reservations", events - 1)
            await attach_all(claims, [message("SPRING") for _ in range(count)])
            await site.came("reservations", events)
        await site.database.execute("UPDATE reservation SET until = now()")
        records = await site.came("reservations", 4)

    data = [json.loads(record.value) for record in records]
    assert [(one["state"], one["used"], one["ended_by"]) for one in data] == [
        ("ready", 0, None), ("nearly_used", 8, None), ("used_up", 10, None), ("released", 10, "until"),
    ]  # fmt: skip
    assert {record.key for record in records} == {str(program.id).encode()}
    assert {(one["reservation_id"], one["campaign_id"], one["scenario_id"]) for one in data} == {
        (mine.id, "spring", None)
    }
    assert (await reservations.get(site.database, program.id, mine.id)).ended_by == "until"
    await check(site)


async def test_an_event_that_may_have_been_published_comes_again_under_its_id(site: Site) -> None:
    """The generator died between Kafka's acknowledgement and the note of it."""
    program = await site.program("SPRING", **OFF)
    await reserve(site.database, Minters(None), program.id, 10)
    async with site.generator():
        await site.came("reservations", 1)
    await site.database.execute("UPDATE reservation_event SET published_at = NULL")
    async with site.generator():
        first, again = await site.came("reservations", 2)

    assert first.value == again.value
    assert dict(first.headers)["ce_id"] == dict(again.headers)["ce_id"]
    assert await states.unpublished(site.database) == []
