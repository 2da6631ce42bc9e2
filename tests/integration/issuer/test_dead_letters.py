"""I3: what can't be read is kept byte for byte with its reason, and what stands around it is answered."""

from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from codewell.client.exchange import OutgoingRequest
from codewell.infra.uuid7 import uuid7
from schemas.events import VALUE_BYTES_MAX
from tests.support.running import until
from tests.support.sender_records import answered, codes, message, messages, step, structured, with_headers
from tests.support.site import Site

Headers = list[tuple[str, bytes | None]]

GOOD = message("p-bad", "A")
RIGHT: Headers = list(GOOD.headers)
WITHOUT_ID: Headers = [header for header in GOOD.headers if header[0] != "ce_id"]
# Reason, value, headers, key. Each is what it is for one reason alone.
BAD: list[tuple[str, bytes | None, Headers, bytes | None]] = [
    ("not_json", None, [], None),
    ("not_json", None, RIGHT, b"\x00\xff key"),
    ("not_json", b"", RIGHT, b""),
    ("not_json", b"\xff\xfe\x00", [*RIGHT, ("trace", None), ("trace", b""), ("trace", b"\xff")], b"p"),
    ("not_json", b"[" * 10_000, RIGHT, b"p"),
    ("invalid_event", GOOD.value, WITHOUT_ID, None),
    ("invalid_event", GOOD.value, [("ce_id", b"\xff"), *WITHOUT_ID], b"p"),
    ("invalid_event", b'{"profile_id": "a\\u0000b", "campaign_id": "c", "programs": ["A"]}', RIGHT, b"p"),
    ("invalid_event", b'{"profile_id": "p", "campaign_id": "c", "template": "{loyalty.A"}', RIGHT, b"p"),
    ("unknown_type", GOOD.value, [*WITHOUT_ID[:2], ("ce_type", b"com.example"), ("ce_id", b"1")], b"p"),
    ("unknown_type", step("p", "A").value, list(step("p", "A").headers), b"p"),
    ("too_large", b"x" * (VALUE_BYTES_MAX + 1), RIGHT, b"p"),
    ("too_large", b"\x00" * 1_000_000, [], None),
    ("reply_topic_refused", GOOD.value, [*RIGHT, ("kafka_replyTopic", b"message-render.dlq")], b"p"),
]


def check(letter: ConsumerRecord, reason: str, source: tuple[str, int, int], since: datetime) -> None:
    headers = dict(letter.headers[-6:])
    names = ("reason", "detail", "topic", "partition", "offset", "time")
    assert list(headers) == [f"codewell_{name}" for name in names]
    assert headers["codewell_reason"].decode() == reason
    assert headers["codewell_detail"].decode().endswith(".")
    topic, partition, offset = source
    assert headers["codewell_topic"].decode() == topic
    assert (int(headers["codewell_partition"]), int(headers["codewell_offset"])) == (partition, offset)
    assert since <= datetime.fromisoformat(headers["codewell_time"].decode()) <= datetime.now(UTC)


async def test_bad_records_are_buried_as_they_came_and_good_ones_answered(site: Site) -> None:
    await site.program("A", 100)
    good = messages(2 * len(BAD), "A")
    since = datetime.now(UTC) - timedelta(seconds=1)
    put = []
    for number, (_, value, headers, key) in enumerate(BAD):
        await site.publish(good[2 * number : 2 * number + 2], number % 2)
        put.append(await site.put("message-render", value, headers, key, number % 2))
    async with site.issuer():
        letters = {(one.partition, one.offset): one for one in await site.came("message-render.dlq", len(BAD))}
        replies = await site.came("message-render.reply", len(good))
    assert len(set(codes(answered(good, replies)))) == len(good)
    assert await site.uncommitted() == 0
    assert len(await site.all_of("message-render.dlq")) == len(BAD)
    for number, (reason, value, headers, key) in enumerate(BAD):
        letter = letters[number % 2, number // 2]
        assert (letter.key, letter.value, list(letter.headers[:-6])) == (key, value, headers)
        check(letter, reason, (f"{site.prefix}message-render", put[number].partition, put[number].offset), since)


async def test_each_request_topic_has_its_own_dead_letters(site: Site) -> None:
    await site.program("A", 10)
    since = datetime.now(UTC) - timedelta(seconds=1)
    async with site.issuer():
        await site.put("scenario-step", GOOD.value, RIGHT)
        await site.put("scenario-step.retry", b"{}", RIGHT, partition=1)
        await site.put("message-render.retry", GOOD.value, WITHOUT_ID)
        steps = await site.came("scenario-step.dlq", 2)
        [rendered] = await site.came("message-render.dlq", 1)
    by_value = {letter.value: letter for letter in steps}
    check(by_value[GOOD.value], "unknown_type", (f"{site.prefix}scenario-step", 0, 0), since)
    check(by_value[b"{}"], "unknown_type", (f"{site.prefix}scenario-step.retry", 1, 0), since)
    check(rendered, "invalid_event", (f"{site.prefix}message-render.retry", 0, 0), since)


async def test_the_largest_record_that_a_topic_takes_is_buried_too(site: Site) -> None:
    await site.program("A", 10)
    limit = await site.record_bytes_max("message-render")
    bad = OutgoingRequest(uuid7(), "message-render", b"p", b"x" * (limit - 100), [])
    bad = bad._replace(value=bad.value + b"x" * (limit - site.bytes_of(bad)))
    after = message("p", "A")
    async with site.issuer():
        await site.publish([bad], 0)
        await site.publish([after], 0)
        [letter] = await site.came("message-render.dlq", 1)
        answered([after], await site.came("message-render.reply", 1))
    assert letter.value == bad.value


async def test_compressed_batches_are_read(site: Site) -> None:
    await site.program("A", 1_000)
    # Our topics have the broker unpack what comes; topics that somebody else has made may keep it as it is.
    as_it_comes = {"compression.type": "producer"}
    topic = ConfigResource(ConfigResourceType.TOPIC, f"{site.prefix}message-render", configs=as_it_comes)
    await site.admin.alter_configs([topic])
    requests = {kind: messages(20, "A") for kind in ("gzip", "lz4", "snappy", "zstd")}
    async with site.issuer():
        for kind, asked in requests.items():
            producer = AIOKafkaProducer(bootstrap_servers=site.bootstrap, compression_type=kind, linger_ms=50)
            async with producer:
                for one in asked:
                    await producer.send(
                        f"{site.prefix}{one.topic}", one.value, key=one.key, headers=one.headers, partition=1
                    )
        replies = await site.came("message-render.reply", 80)
    asked = [one for of_kind in requests.values() for one in of_kind]
    assert len(set(codes(answered(asked, replies)))) == 80
    assert await site.uncommitted() == 0


async def test_what_came_before_a_dead_letter_is_not_answered_twice(site: Site) -> None:
    await site.program("A", 10)
    first, as_event, last = message("p-1", "A"), structured(message("p-2", "A")), message("p-3", "A")
    async with site.issuer(batch_size_max=1):
        for request in (first, as_event, last):
            await site.publish([request], 0)
            await site.put("message-render", b"no json")
            await site.publish([with_headers(message("p-4", "A"), ("kafka_replyTopic", b"elsewhere"))], 0)
        await site.came("message-render.dlq", 6)

        async def all_committed() -> bool:
            return await site.uncommitted() == 0

        await until(all_committed, "commit of all")
    answered([first, as_event, last], await site.all_of("message-render.reply"))
    assert (await site.stock("A")).attached == 3
