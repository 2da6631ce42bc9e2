"""Events that others write: faulty ones, and those of transactions that were aborted."""

import json
from collections.abc import Awaitable, Callable

import pytest

from codewell.client.exchange import OutgoingRequest
from codewell.infra.uuid7 import uuid7
from schemas.program import Program
from tests.integration.generator.test_profiles import committed, tell, until_kept
from tests.integration.issuer.test_poison import NotUtf8, publish_raw
from tests.support.pools import AUTOMATIC, tell_changed, tell_demand, until_full
from tests.support.running import until
from tests.support.site import Site
from tests.support.transactions import transactional_producer, write


def event(topic: str, program: Program, *headers: tuple[str, bytes], more: str = "") -> OutgoingRequest:
    value = json.dumps({"program_id": program.id, "name": program.name, "pooled": 0, "more": more}).encode()
    return OutgoingRequest(uuid7(), topic, str(program.id).encode(), value, list(headers))


@pytest.mark.parametrize(("topic", "tells"), [("pool-demand", tell_demand), ("program-changed", tell_changed)])
async def test_a_faulty_event_does_not_end_the_listening(
    site: Site, topic: str, tells: Callable[[Site, Program], Awaitable[None]]
) -> None:
    async with site.generator():
        first = await site.program("FIRST", **AUTOMATIC)
        await tells(site, first)
        await until_full(site, first)
        second, third = await site.program("SECOND", **AUTOMATIC), await site.program("THIRD", **AUTOMATIC)
        await publish_raw(site, [event(topic, first, (NotUtf8("x"), b"")), event(topic, second)])
        await until_full(site, second)
        await site.publish([event(topic, first, more="x" * 100_000)], 0)
        await tells(site, third)
        await until_full(site, third)


@pytest.mark.parametrize("topic", ["pool-demand", "program-changed"])
async def test_an_aborted_event_fills_no_pool(site: Site, topic: str) -> None:
    async with site.generator(), transactional_producer(site) as sender:
        # The sweep of the start comes first.
        first = await site.program("FIRST", **AUTOMATIC)
        await until_full(site, first)
        aborted, wanted = await site.program("ABORTED", **AUTOMATIC), await site.program("WANTED", **AUTOMATIC)
        await sender.begin_transaction()
        await write(site, sender, [event(topic, aborted)], 0)
        await sender.abort_transaction()
        await sender.begin_transaction()
        await write(site, sender, [event(topic, wanted)], 0)
        await sender.commit_transaction()
        await until_full(site, wanted)
    assert (await site.stock("ABORTED")).pooled == 0


async def test_an_aborted_record_without_a_value_forgets_nobody(site: Site) -> None:
    async with site.generator(), transactional_producer(site) as sender:
        await tell(site, "p-1", {"n": "1"})
        await until_kept(site, {"p-1": {"n": "1"}})
        await sender.begin_transaction()
        await sender.send_and_wait(f"{site.prefix}profile-changed", None, key=b"p-1", partition=0)
        await sender.abort_transaction()
        await tell(site, "p-2", {"n": "1"})
        await until_kept(site, {"p-1": {"n": "1"}, "p-2": {"n": "1"}})
        await sender.begin_transaction()
        await sender.send_and_wait(f"{site.prefix}profile-changed", None, key=b"p-1", partition=0)
        await sender.commit_transaction()
        await until_kept(site, {"p-2": {"n": "1"}})
        # The marker at the end is committed too.
        await until(lambda: committed(site), "end of the topic")
