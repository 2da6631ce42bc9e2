"""Dead letters that are chosen, published again each once, and purged."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import InvalidTimestampError

from codewell.client.exchange import OutgoingRequest
from codewell.errors import StackUnavailable
from codewell.infra.kafka import reading
from codewell.infra.kafka.record_batches import RecordBatches
from codewell.recovery import dead_letter_log as store
from codewell.recovery import dead_letters, replaying
from codewell.recovery.dead_letter_log import exclusive_lock
from codewell.recovery.dead_letters import DeadLetters, LetterFilter
from codewell.recovery.purging import Purge, PurgeResult
from codewell.recovery.replaying import REPLAYS_MAX, ReplayCounts, ReplayOptions
from tests.integration.issuer.test_poison import NotUtf8, publish_raw
from tests.support.client_faults import until_committed
from tests.support.commands import CODEWELL, environment
from tests.support.running import until
from tests.support.sender_records import data_of, message, step, with_headers
from tests.support.site import Site

DLQ = "message-render.dlq"
PLAIN = ReplayOptions()
WRONG = ("kafka_replyTopic", b"elsewhere")


@asynccontextmanager
async def letters_of(site: Site) -> AsyncIterator[DeadLetters]:
    async with exclusive_lock(site.database), dead_letters.open_dead_letters(site.bootstrap, site.prefix) as opened:
        yield opened


async def replay(site: Site, how: ReplayOptions = PLAIN, **wanted: Any) -> ReplayCounts:
    async with letters_of(site) as opened:
        return await replaying.replay(
            site.database, site.bootstrap, site.prefix, opened, LetterFilter(**wanted), how, lambda _: None
        )


async def listed(site: Site, **wanted: Any) -> list[str]:
    """The places of the letters that are listed."""
    async with letters_of(site) as opened:
        batches = [batch async for batch in opened.wanted(site.database, LetterFilter(**wanted))]
    return [one.letter.at for batch in batches for one in batch]


async def purge(site: Site, *, unreplayed: bool = False, limit: int | None = None, **wanted: Any) -> PurgeResult:
    """Purge, which does what was counted before."""
    async with letters_of(site) as opened:
        purging = Purge(site.database, opened, LetterFilter(**wanted), unreplayed=unreplayed, limit=limit)
        counted = await purging.count(lambda _: None)
        assert await purging.purge(site.bootstrap, lambda _: None) == counted
    return counted


async def dead_letter(site: Site, *requests: OutgoingRequest, partition: int = 0) -> None:
    """Have these requests, which wish for answers where none may go, become dead letters."""
    async with site.issuer():
        for request in requests:
            await site.publish([with_headers(request, WRONG)], partition)
        await until_committed(site)
        await until_committed(site, "scenario-step")


async def published(site: Site, topic: str = "message-render", partition: int = 0) -> list[ConsumerRecord]:
    """All records of a partition of a request topic."""
    async with reading.open_reader(site.bootstrap) as reader:
        [tp] = [
            tp for tp in await reading.partitions(site.bootstrap, [site.prefix + topic]) if tp.partition == partition
        ]
        spans = await reader.offset_ranges([tp])
        return [record async for record in reader.records(tp, spans[tp])]


def times_published(records: list[ConsumerRecord], requests: list[OutgoingRequest]) -> list[int]:
    counted = Counter(dict(record.headers)["ce_id"].decode() for record in records)
    return [counted[str(request.request_id)] for request in requests]


async def test_letters_are_chosen_by_what_is_asked_for(site: Site) -> None:
    since = datetime.now(UTC) - timedelta(seconds=1)
    await dead_letter(site, message("p-1", "A"), message("p-2", "A"), step("p-1", "A"))
    await site.put("message-render", b"\xff", key=b"p-3", partition=1)
    async with site.issuer():
        await site.came(DLQ, 3)
    first, second, unread, walked = (
        "message-render:0:0", "message-render:0:1", "message-render:1:0", "scenario-step:0:0",
    )  # fmt: skip
    assert await listed(site) == [first, second, unread, walked]
    assert await listed(site, profile="p-1") == [first, walked]
    assert await listed(site, profile="p-3") == [unread]
    assert await listed(site, reason="invalid_event") == [unread]
    assert await listed(site, topic="scenario-step") == [walked]
    assert await listed(site, at=(second, walked)) == [second, walked]
    assert await listed(site, since=since, until=datetime.now(UTC) + timedelta(seconds=1)) == await listed(site)
    assert await listed(site, until=since) == await listed(site, since=datetime.now(UTC) + timedelta(hours=1)) == []


async def test_a_replayed_request_is_answered_as_if_nothing_had_happened(site: Site) -> None:
    await site.program("A", 10)
    asked = message("p-1", "A")
    where = f"{site.prefix}answers"
    async with site.own_topic(where, 2):
        async with site.issuer():
            await site.publish([with_headers(asked, ("kafka_replyTopic", where.encode()))], 1)
            await site.came(DLQ, 1)
        assert await replay(site, ReplayOptions(dry_run=True)) == ReplayCounts(1)
        assert await replay(site) == ReplayCounts(1)
        assert await replay(site) == ReplayCounts(0, 1)
        async with site.issuer(reply_topics=(where,)):
            [answer] = await site.came("answers", 1)
            assert (answer.key, answer.partition) == (b"p-1", 1)
            assert data_of(answer)["request_id"] == str(asked.request_id)
            # Who wants it once more gets the same.
            assert await replay(site, ReplayOptions(again=True)) == ReplayCounts(1)
            [_, once_more] = await site.came("answers", 2)
    assert (once_more.value, once_more.headers) == (answer.value, answer.headers)
    came, *again = await published(site, partition=1)
    assert len(again) == 2
    for record in again:
        assert (record.key, record.value) == (came.key, came.value)
        added = [("codewell_replays", b"1"), ("codewell_replay_of", f"{site.prefix}{DLQ}:1:0".encode())]
        assert list(record.headers) == [*came.headers, *added]


@pytest.mark.parametrize("window", ["before it is published", "after it is published"])
async def test_who_dies_in_the_middle_publishes_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    requests = [message(f"p-{number}", "A") for number in range(5)]
    await dead_letter(site, *requests)
    # Whoever looks for what was published must get past what can't be read.
    await publish_raw(site, [with_headers(message("p", "A"), (NotUtf8("name"), b"value"))])

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        if window == "before it is published":
            patched.setattr(RecordBatches, "send", die)
        else:
            patched.setattr(store, "record_replayed", die)
        with pytest.raises(asyncio.CancelledError):
            await replay(site, ReplayOptions(limit=2))
    done = 2 if window == "after it is published" else 0
    assert await replay(site, ReplayOptions(dry_run=True)) == ReplayCounts(5 - done, done)
    assert await replay(site) == ReplayCounts(5 - done, done)
    assert await replay(site) == ReplayCounts(0, 5)
    assert times_published(await published(site), requests) == [2] * 5


async def test_who_is_killed_publishes_nothing_twice(site: Site, tmp_path: Path) -> None:
    requests = [message(f"p-{number}", "A") for number in range(3_000)]
    headers = [WRONG]
    async with site.issuer():
        await site.publish([with_headers(request, *headers) for request in requests], 0)
        await site.came(DLQ, len(requests))
        await until_committed(site)
    variables = environment(
        CODEWELL_POSTGRES_URL=site.postgres_url,
        CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
        CODEWELL_TOPIC_PREFIX=site.prefix,
    )

    async def started() -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *CODEWELL, "dlq", "replay", "--json", env=variables, cwd=tmp_path, stdout=pipe, stderr=pipe
        )

    killed = await started()

    async def begun() -> bool:
        count = await site.database.fetchval("SELECT count(*) FROM dead_letter WHERE replay_from IS NOT NULL")
        return int(count) > 0

    await until(begun, "replay that has begun")
    killed.kill()
    await killed.communicate()
    together = [await started(), await started()]
    said = [await one.communicate() for one in together]
    statuses = sorted(one.returncode or 0 for one in together)
    # The other one is told so, or came when the first had ended.
    assert statuses[0] == 0, said
    assert statuses[1] == 0 or any(b"Another command" in err for _, err in said), said
    assert times_published(await published(site), requests) == [2] * len(requests)
    assert await replay(site) == ReplayCounts(0, len(requests))


async def test_only_one_replays_at_a_time(site: Site) -> None:
    other = await asyncpg.connect(site.postgres_url)
    async with exclusive_lock(other):
        with pytest.raises(StackUnavailable, match="Another command"):
            await replay(site)
    await other.close()
    assert await replay(site) == ReplayCounts()


async def test_what_can_never_be_read_does_not_go_round_for_ever(site: Site) -> None:
    await site.put("message-render", b"no json", [("mine", b"\xff")])
    counts = []
    async with site.issuer():
        await site.came(DLQ, 1)
        while (count := await replay(site)).replayed:
            counts.append(count)
            await site.came(DLQ, len(counts) + 1)
    assert len(counts) == REPLAYS_MAX
    assert count == ReplayCounts(0, REPLAYS_MAX, 1)
    letters = await site.all_of(DLQ)
    replays = [dict(letter.headers).get("codewell_replays") for letter in letters]
    assert replays == [None, *(str(number).encode() for number in range(1, REPLAYS_MAX + 1))]
    for letter in letters:
        assert (letter.value, letter.headers[0]) == (b"no json", ("mine", b"\xff"))
        # Each names its reason and its replay once, not those of all rounds.
        assert len({name for name, _ in letter.headers}) == len(letter.headers)


async def test_what_is_too_large_to_be_published_again_stands_in_nobodys_way(site: Site) -> None:
    limit = await site.record_bytes_max("message-render")
    async with site.issuer():
        await site.put("message-render", b"x" * (limit - 500))
        await site.put("message-render", None)
        await site.put("message-render", b"small")
        await site.came(DLQ, 3)
    # The record without a value has a key, and is published again as it was.
    assert await replay(site) == ReplayCounts(2, too_large=1)


async def test_a_letter_whose_event_has_no_value_is_replayed(site: Site) -> None:
    async with site.issuer():
        await site.put("message-render", None, [("mine", b"1")], key=b"p-1")
        await site.put("message-render", b"", [], key=b"p-2")
        await site.put("message-render", None, [], key=None)
        await site.came(DLQ, 3)
    # The last one holds nothing at all.
    assert await replay(site) == ReplayCounts(2, without_event=1)
    again = (await published(site))[3:]
    assert [(one.key, one.value, one.headers[:-2]) for one in again] == [
        (b"p-1", None, (("mine", b"1"),)), (b"p-2", b"", ()),
    ]  # fmt: skip


async def test_forged_letters_stop_no_command(site: Site) -> None:
    """Everyone who may write to the topic can write these headers, and any timestamp."""
    forged = [("codewell_partition", b"9" * 5_000), ("codewell_replays", b"9" * 5_000), ("ce_id", b"\xff")]
    await site.put(DLQ, b"{}", forged)
    await site.put(DLQ, b"{}", [("codewell_partition", "²".encode()), ("codewell_time", b"\xff")])
    batch = site.producer.create_batch()
    batch.append(timestamp=-(2**62), key=b"p", value=b"{}", headers=[])
    batch.close()
    with suppress(InvalidTimestampError):
        # A broker may take any time of the past.
        await (await site.producer.send_batch(batch, site.prefix + DLQ, partition=0))
    letters = await listed(site)
    assert len(letters) >= 2
    assert (await replay(site)).replayed == len(letters)
    assert (await purge(site)).purged == len(letters)


async def test_purging_takes_what_was_replayed_and_nothing_else(site: Site) -> None:
    requests = [message(f"p-{number}", "A") for number in range(4)]
    await dead_letter(site, *requests)
    third = "message-render:0:2"
    assert await purge(site) == PurgeResult()
    await replay(site, at=("message-render:0:0", third))
    # The first goes from Kafka; the third stands behind one that is kept, and is only listed no more.
    assert await purge(site) == PurgeResult(2, 0, 1)
    assert await listed(site) == ["message-render:0:1", "message-render:0:3"]
    assert [one.offset for one in await published(site, DLQ)] == [1, 2, 3]
    assert await replay(site, ReplayOptions(dry_run=True, again=True)) == ReplayCounts(2)
    assert await purge(site, unreplayed=True, limit=1) == PurgeResult(1, 1, 2)
    assert [one.offset for one in await published(site, DLQ)] == [3]
    # What was noted of letters that are gone is gone too.
    assert await site.database.fetchval("SELECT count(*) FROM dead_letter") == 0
    assert await purge(site, unreplayed=True, profile="somebody else") == PurgeResult()
    assert await purge(site, unreplayed=True, profile="p-3") == PurgeResult(1, 1, 1)
    assert await listed(site) == []
    assert await purge(site, unreplayed=True) == PurgeResult()


async def test_a_letter_that_comes_while_others_are_purged_stays(site: Site) -> None:
    await dead_letter(site, message("p-1", "A"))
    async with letters_of(site) as opened:
        purging = Purge(site.database, opened, LetterFilter(), unreplayed=True, limit=None)
        assert (await purging.count(lambda _: None)).purged == 1
        await dead_letter(site, message("p-2", "A"))
        assert await purging.purge(site.bootstrap, lambda _: None) == PurgeResult(1, 1, 1)
    assert await listed(site) == ["message-render:0:1"]
