"""What claims count: each code that was given and each program that refused, once, by source."""

from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.uuid7 import uuid7
from codewell.issuing import manual
from codewell.issuing.claim import Claims
from codewell.issuing.model import ManualRequest, Request
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from codewell.usage.tally import UsageTally
from tests.support.factories import OFF, message, program, step
from tests.support.usage_counts import taken


async def test_codes_and_refusals_by_program_and_source(
    connection: Connection, connections: Pool, minters: Minters
) -> None:
    spring = await program(connection, minters, **OFF)
    other = await program(connection, minters, "OTHER", active=False)
    await generate(connection, minters, spring.id, 4, None)
    tally = UsageTally()
    claims = Claims(connections, minters, usage=tally)
    by_person = Request(uuid7(), ManualRequest("p-9", "SPRING"), ("SPRING",))
    requests = [message("SPRING"), message("SPRING"), step("SPRING"), by_person, message("SPRING", "OTHER"),
                message("NOWHERE"), message("OTHER", preview=True), message("SPRING", preview=True)]  # fmt: skip

    await claims.attach(requests)

    assert taken(tally) == {
        (spring.id, "campaign", "attached"): 2,
        (spring.id, "scenario", "attached"): 1,
        (spring.id, "person", "attached"): 1,
        (other.id, "campaign", "program_inactive"): 1,
    }
    await claims.attach([step("SPRING"), step("SPRING"), message("SPRING")])
    assert taken(tally) == {(spring.id, "scenario", "pool_empty"): 2, (spring.id, "campaign", "pool_empty"): 1}


async def test_a_request_that_is_read_again_counts_once(
    connection: Connection, connections: Pool, claims: Claims, minters: Minters
) -> None:
    spring = await program(connection, minters, reuse="profile")
    await generate(connection, minters, spring.id, 4, None)
    old, new = message("SPRING", profile_id="p-1"), message("SPRING", profile_id="p-2")
    await claims.attach([old])
    tally = UsageTally()
    again = Claims(connections, minters, usage=tally)

    await again.attach([old, new])
    assert taken(tally) == {(spring.id, "campaign", "attached"): 1}

    await again.attach([message("SPRING", profile_id="p-1")])
    assert taken(tally) == {(spring.id, "campaign", "reused"): 1}


async def test_a_code_that_is_attached_by_its_text_counts_once(connection: Connection, minters: Minters) -> None:
    spring = await program(connection, minters)
    tally = UsageTally()
    request_id = uuid7()

    for _ in range(2):
        await manual.attach_named(connection, minters, "SPRING", "NEW-1", "p-1", request_id, usage=tally)

    assert taken(tally) == {(spring.id, "person", "attached"): 1}
