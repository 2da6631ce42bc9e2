"""Requests for an empty remote program wait for its codes, each for itself, and for no longer than they may."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from codewell.audit.promises import audit
from codewell.pool.fill import top_up
from codewell.pool.minter_cache import Minters
from codewell.remote import order_leases
from schemas.program import Program
from schemas.remote import RemoteCode
from tests.support.client_faults import until_committed
from tests.support.remote_programs import store
from tests.support.sender_records import answered, by_request, codes, message, messages, step
from tests.support.site import Site

REPLY = "message-render.reply"
RETRY = "message-render.retry"


async def remote_program(site: Site, **given: Any) -> Program:
    source = {"kind": "remote", "url": "https://codes.example/orders", "request_max": 100}
    return await site.program("REMOTE", source=source, **{"campaign_can_create": True, "pool_max": 10, **given})


async def bring(site: Site, program: Program, *texts: str) -> None:
    """What a generator does, where the service brings these codes."""
    await top_up(site.database, Minters(None), program.id)
    [order] = await order_leases.lease_orders(site.database, 60, {}, 1, 1)
    assert await store(site.database, order, [RemoteCode(code=text) for text in texts]) == len(texts)


def refusals(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["program"], one["reason"]) for one in answer["refusals"]]


async def test_they_are_answered_as_soon_as_codes_are_there_while_the_partition_goes_on(site: Site) -> None:
    program = await remote_program(site)
    await site.program("FREE", 100)
    waiting, free = messages(5, "REMOTE"), messages(5, "FREE")
    async with site.issuer():
        await site.publish([*waiting, *free], 1)
        replies = await site.came(REPLY, 5)
        answered(free, replies)
        await until_committed(site)
        # It has asked for codes, and each waits on.
        assert json.loads((await site.came("pool-demand", 1))[0].value) == {"program_id": program.id, "pooled": 0}
        await site.came(RETRY, 2 * len(waiting))
        late = message("p-late", "FREE")
        await site.publish([late], 1)
        await site.came(REPLY, 6)
        await bring(site, program, *(f"CODE-{number}" for number in range(10)))
        replies = await site.came(REPLY, 11)
        await until_committed(site, RETRY, "codewell-issuer-retry")
    assert sorted(codes(answered([*waiting, *free, late], replies)))[:5] == [f"CODE-{number}" for number in range(5)]
    assert await audit(site.database) == []


async def test_without_codes_they_are_refused_at_their_deadline_or_after_a_while(site: Site) -> None:
    await remote_program(site, scenario_can_create=True)
    patient = message("p-patient", "REMOTE", deadline="2099-01-01T00:00:00Z")
    plain = message("p-plain", "REMOTE")
    past = message("p-past", "REMOTE", deadline="2020-01-01T00:00:00Z")
    walking = step("p-step", "REMOTE")
    async with site.issuer(remote_wait_s=0.5):
        await site.publish([patient, plain, past], 0)
        await site.publish([walking], 1)
        # The issuer is at work: a deadline that is some time off is not over when it reads the request.
        await site.came(RETRY, 1)
        deadline = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
        await site.publish([message("p-hasty", "REMOTE", deadline=deadline)], 0)
        answers = by_request(await site.came(REPLY, 3))
        steps = by_request(await site.came("scenario-step.reply", 1))
        waits = [record for record in await site.came(RETRY, 4) if record.value == patient.value]
    found = {answer["profile_id"]: refusals(answer) for answer in (*answers.values(), *steps.values())}
    failed = [("REMOTE", "remote_failed")]
    assert found == {
        "p-hasty": failed, "p-plain": failed, "p-step": failed, "p-past": [("REMOTE", "deadline_passed")],
    }  # fmt: skip
    assert {dict(record.headers)["codewell_give_up_at"] for record in waits} == {b"2099-01-01T00:00:00+00:00"}
    assert await audit(site.database) == []


async def test_the_wait_is_counted_from_when_it_began_by_the_databases_clock(site: Site) -> None:
    await remote_program(site)
    asked = message("p", "REMOTE")
    before = await site.database.fetchval("SELECT clock_timestamp()")
    async with site.issuer(remote_wait_s=1.0):
        await site.publish([asked], 0)
        await site.came(REPLY, 1)
    after = await site.database.fetchval("SELECT clock_timestamp()")
    waits = [dict(record.headers)["codewell_give_up_at"] for record in await site.all_of(RETRY)]
    assert len(waits) > 1
    assert len(set(waits)) == 1
    until = datetime.fromisoformat(waits[0].decode())
    assert before < until - timedelta(seconds=1) < after
    assert until <= after


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"campaign_can_create": False}, "pool_empty"), ({"codes_max": 10}, "maximum_reached")],
)
async def test_where_no_codes_can_come_nobody_waits(site: Site, given: dict[str, Any], reason: str) -> None:
    program = await remote_program(site, **given)
    asked = messages(11 if reason == "maximum_reached" else 1, "REMOTE")
    async with site.issuer():
        if reason == "maximum_reached":
            await bring(site, program, *(f"CODE-{number}" for number in range(10)))
        await site.publish(asked, 0)
        answers = answered(asked, await site.came(REPLY, len(asked)))
        assert await site.all_of(RETRY) == []
    assert [refusals(answer) for answer in answers if "refusals" in answer] == [[("REMOTE", reason)]]


async def test_a_preview_needs_no_codes(site: Site) -> None:
    await remote_program(site)
    asked = message("p", "REMOTE", preview=True)
    async with site.issuer():
        await site.publish([asked], 0)
        [answer] = answered([asked], await site.came(REPLY, 1))
    assert answer["codes"][0]["code"] == "PREVIEW"
