"""Reply topics that are missing, deleted or closed while an issuer runs: the answers of the others go on."""

import time

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from structlog.testing import capture_logs

from codewell.client.exchange import OutgoingRequest
from codewell.infra.kafka.topics import create_topics
from services.issuer import output_topics
from tests.support.client_faults import until_committed
from tests.support.running import until
from tests.support.sender_records import answered, data_of, message, messages, with_headers
from tests.support.site import Site

# Far below the 30 s after which a send is given up.
HELD_UP_S_MAX = 15.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_topics, "WATCH_INTERVAL_S", 0.1)
    monkeypatch.setattr(output_topics, "REFUSED_S", 2.0)


def to(topic: str, request: OutgoingRequest) -> OutgoingRequest:
    return with_headers(request, ("kafka_replyTopic", topic.encode()), ("kafka_correlationId", b"7"))


async def gone(site: Site, name: str) -> None:
    await site.admin.delete_topics([name])

    async def is_gone() -> bool:
        return name not in await site.admin.list_topics()

    await until(is_gone, f"deletion of {name}")


async def test_a_missing_topic_stops_no_issuer_and_is_used_once_it_is_there(site: Site) -> None:
    await site.program("A", 100)
    missing, there = f"{site.prefix}missing", f"{site.prefix}there"
    lost, found, late = (
        to(missing, message("p-1", "A")),
        to(there, message("p-2", "A")),
        to(missing, message("p-3", "A")),
    )
    usual = messages(5, "A")
    async with site.own_topic(there, 2), site.issuer(reply_topics=f"{missing},{there}"):
        await site.publish([lost, found, *usual], 0)
        answered([found], await site.came("there", 1))
        answered(usual, await site.came("message-render.reply", len(usual)))
        [letter] = await site.came("message-render.dlq", 1)
        headers = dict(letter.headers)
        assert (letter.value, headers["codewell_reason"]) == (lost.value, b"reply_topic_refused")
        assert b"codewell topics" in headers["codewell_detail"]
        assert missing in await create_topics(site.bootstrap, site.prefix, None, [missing, there])
        async with site.watched(missing):
            # A request of before was decided: its dead letter, replayed, is answered with that.
            await until_used(site, missing, late)
            await site.publish([lost], 0)
            replies = await site.came("missing", 2)
            answered([lost, late], replies)
        await gone(site, missing)
    assert (await site.stock("A")).attached == len(usual) + 3


async def until_used(site: Site, topic: str, request: OutgoingRequest) -> None:
    """Send the request until it is answered there: the issuer sees a new topic after a moment."""

    async def used() -> bool:
        await site.publish([request], 1)
        await until_committed(site)
        return len(await site.all_of(topic.removeprefix(site.prefix))) > 0

    await until(used, f"answer in {topic}")


async def test_a_topic_that_is_deleted_holds_nothing_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.program("A", 100)
    name = f"{site.prefix}deleted"
    before, after = to(name, message("p-1", "A")), to(name, message("p-2", "A"))
    usual = messages(20, "A")
    async with site.issuer(reply_topics=name):
        await site.admin.create_topics([NewTopic(name, 2, 1)])
        await site.producer.partitions_for(name)
        async with site.watched(name):
            await until_used(site, name, before)
        # The issuer has not seen it yet when it is asked to answer there.
        monkeypatch.setattr(output_topics, "WATCH_INTERVAL_S", 1.0)
        await gone(site, name)
        began = time.monotonic()
        await site.publish([after, *usual], 0)
        answered(usual, await site.came("message-render.reply", len(usual)))
        assert time.monotonic() - began < HELD_UP_S_MAX
        await until_committed(site)
    letters = {one.value: one for one in await site.all_of("message-render.dlq")}
    # The issuer may not have seen the new topic yet when it was first asked to answer there.
    letters.pop(before.value, None)
    [letter] = letters.values()
    assert (letter.value, dict(letter.headers)["codewell_reason"]) == (after.value, b"reply_topic_refused")
    replies = [data_of(one)["request_id"] for one in await site.all_of("message-render.reply")]
    assert set(replies) == {str(one.request_id) for one in usual}


async def test_a_topic_that_takes_no_such_answer_holds_nothing_up(site: Site) -> None:
    await site.program("A", 100)
    name = f"{site.prefix}small"
    usual = messages(20, "A")
    async with site.own_topic(name, 2):
        await set_max_bytes(site, name, 200)
        refused = to(name, message("p-1", "A"))
        async with site.issuer(reply_topics=name):
            began = time.monotonic()
            await site.publish([refused, *usual], 0)
            answered(usual, await site.came("message-render.reply", len(usual)))
            assert time.monotonic() - began < HELD_UP_S_MAX
            await until_committed(site)
            [letter] = {one.value: one for one in await site.all_of("message-render.dlq")}.values()
            assert dict(letter.headers)["codewell_reason"] == b"reply_topic_refused"


async def test_an_own_topic_that_takes_no_answers_is_waited_for_and_says_what_to_do(
    site: Site,
) -> None:
    """Its answers are no dead letters: those of all requests would be."""
    await site.program("A", 100)
    name = f"{site.prefix}message-render.reply"
    usual = messages(20, "A")
    await set_max_bytes(site, name, 200)
    with capture_logs() as logs:
        async with site.issuer():
            await site.publish(usual, 0)

            async def waits() -> bool:
                said = [str(entry.get("why")) for entry in logs if entry["event"] == "waiting"]
                return any(name in one and "max.message.bytes to what codewell doctor says" in one for one in said)

            await until(waits, "issuer that says why it waits")
            await set_max_bytes(site, name, 1_048_576)
            answered(usual, await site.came("message-render.reply", len(usual)))
            await until_committed(site)
    assert await site.all_of("message-render.dlq") == []
    assert (await site.stock("A")).attached == len(usual)


async def set_max_bytes(site: Site, topic: str, size: int) -> None:
    small = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": str(size)})
    await site.admin.alter_configs([small])


async def test_a_topic_that_is_made_again_with_fewer_partitions(site: Site) -> None:
    await site.program("A", 100)
    name = f"{site.prefix}again"
    first, second = to(name, message("p-1", "A")), to(name, message("p-2", "A"))
    await site.admin.create_topics([NewTopic(name, 2, 1)])
    await site.producer.partitions_for(name)
    async with site.issuer(reply_topics=name):
        async with site.watched(name):
            await site.publish([first], 1)
            await site.came("again", 1)
        await gone(site, name)
        await site.admin.create_topics([NewTopic(name, 1, 1)])
        await site.producer.client.force_metadata_update()
        async with site.watched(name):
            await until_used(site, name, second)
        await gone(site, name)


async def test_the_command_makes_them_with_as_many_partitions_as_replies_have(site: Site) -> None:
    name = f"{site.prefix}mine"
    assert name in await create_topics(site.bootstrap, site.prefix, 1, [name, f"{site.prefix}message-render.reply"])
    try:
        assert await create_topics(site.bootstrap, site.prefix, 1, [name]) == []
        assert len(await site.producer.partitions_for(name)) == 24
    finally:
        await gone(site, name)
