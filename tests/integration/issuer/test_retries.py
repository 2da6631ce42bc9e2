"""Requests that wait: counted, dated, and not for ever, whoever publishes them again."""

from datetime import datetime

from codewell.recovery import dead_letters, replaying
from codewell.recovery.dead_letter_log import exclusive_lock
from codewell.recovery.dead_letters import LetterFilter
from codewell.recovery.replaying import REPLAYS_MAX, ReplayCounts, ReplayOptions
from tests.support.client_faults import until_committed
from tests.support.sender_records import answered, message, with_headers
from tests.support.site import Site

RETRY, REPLY, DLQ = "message-render.retry", "message-render.reply", "message-render.dlq"
RETRY_GROUP = "codewell-issuer-retry"
FORGED = (("codewell_attempt", b"999999999"), ("codewell_first_at", b"2000-01-01T00:00:00+00:00"))


async def break_key(site: Site, *, broken: bool = True) -> None:
    """Have an issuer without a master key need one for A, or need it no longer. It would not start when it did."""
    await site.database.execute("UPDATE template_version SET key_wrapped = $1 WHERE program_id = 1", broken)


async def replay(site: Site) -> ReplayCounts:
    async with exclusive_lock(site.database), dead_letters.open_dead_letters(site.bootstrap, site.prefix) as letters:
        return await replaying.replay(
            site.database, site.bootstrap, site.prefix, letters, LetterFilter(), ReplayOptions(), lambda _: None
        )


async def test_a_request_that_waits_in_vain_becomes_a_dead_letter_and_is_answered_when_replayed(site: Site) -> None:
    await site.program("A", 10)
    await site.program("B", 10)
    # What a sender writes into these headers says nothing.
    asked, others = with_headers(message("p-1", "A"), *FORGED), [message("p-2", "B"), message("p-3", "B")]
    async with site.issuer(retries_max=3):
        await site.publish([others[0]], 0)
        await site.came(REPLY, 1)
        await break_key(site)
        await site.publish([asked, others[1]], 0)
        [letter] = await site.came(DLQ, 1)
        answered(others, await site.came(REPLY, 2))
        await until_committed(site, RETRY, RETRY_GROUP)
    waits = [dict(record.headers) for record in await site.all_of(RETRY)]
    assert [wait["codewell_attempt"] for wait in waits] == [b"1", b"2", b"3"]
    [first_at] = {wait["codewell_first_at"] for wait in waits}
    assert datetime.fromisoformat(first_at.decode()).year > 2000
    headers = dict(letter.headers)
    assert (headers["codewell_reason"], headers["codewell_attempt"]) == (b"retries_exhausted", b"3")
    assert (letter.key, letter.value, headers["codewell_first_at"]) == (asked.key, asked.value, first_at)
    assert (await site.stock("A")).attached == 0
    await break_key(site, broken=False)
    assert await replay(site) == ReplayCounts(1)
    async with site.issuer(retries_max=3):
        answered([*others, asked], await site.came(REPLY, 3))


async def test_nothing_goes_round_for_ever(site: Site) -> None:
    await site.program("A", 10)
    await site.program("B", 10)
    rounds = 0
    async with site.issuer(retries_max=2):
        await site.publish([message("p-2", "B")], 0)
        await site.came(REPLY, 1)
        await break_key(site)
        await site.publish([message("p-1", "A")], 0)
        await site.came(DLQ, 1)
        while (await replay(site)).replayed:
            rounds += 1
            await site.came(DLQ, 1 + rounds)
        await until_committed(site)
        await until_committed(site, RETRY, RETRY_GROUP)
    assert rounds == REPLAYS_MAX
    # Each time it waited as often as it may, counted anew, and no more.
    waits = [dict(record.headers)["codewell_attempt"] for record in await site.all_of(RETRY)]
    assert waits == [b"1", b"2"] * (1 + REPLAYS_MAX)
    assert len(await site.all_of(DLQ)) == 1 + REPLAYS_MAX


async def test_who_waits_for_a_remote_service_with_all_the_time_in_the_world_is_refused(site: Site) -> None:
    source = {"kind": "remote", "url": "https://codes.example/orders", "request_max": 100}
    await site.program("REMOTE", source=source, campaign_can_create=True, pool_max=10)
    asked = message("p-1", "REMOTE", deadline="2099-01-01T00:00:00Z")
    async with site.issuer(retries_max=3):
        await site.publish([asked], 0)
        [answer] = answered([asked], await site.came(REPLY, 1))
    assert [one["reason"] for one in answer["refusals"]] == ["remote_failed"]
    assert len(await site.all_of(RETRY)) == 3
    assert await site.all_of(DLQ) == []
