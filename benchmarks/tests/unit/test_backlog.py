from uuid import uuid4

from aiokafka import ConsumerRecord

from benchmarks.backlog import PARTITIONS, Backlog
from benchmarks.tests.unit.recording import Kept, RecordingProducer
from schemas.events import MESSAGE_RENDER
from services.issuer.decode import Decoder

COUNT = 500
TOPIC = "p.message-render"


async def stored(program: str) -> list[Kept]:
    producer = RecordingProducer()
    await Backlog(producer, "p.", program, COUNT).store()
    return producer.kept[TOPIC]


def as_record(kept: Kept) -> ConsumerRecord:
    return ConsumerRecord(TOPIC, kept.partition, 0, 0, 0, kept.key, kept.value, None, 0, 0, tuple(kept.headers))


async def test_the_issuer_can_read_each_request() -> None:
    decoder = Decoder({TOPIC: MESSAGE_RENDER}, frozenset())

    requests = [decoder.decode(as_record(kept)).request for kept in await stored("SPRING")]

    assert len({request.id for request in requests}) == COUNT
    assert {request.event.program_names for request in requests} == {("SPRING",)}


async def test_a_request_has_the_four_headers_and_a_time_ordered_id() -> None:
    for kept in await stored("SPRING"):
        headers = dict(kept.headers)
        assert sorted(headers) == ["ce_id", "ce_source", "ce_specversion", "ce_type"]
        assert headers["ce_id"][14:15] == b"7"


async def test_a_profile_keeps_its_partition_and_all_partitions_have_work() -> None:
    first = {kept.key: kept.partition for kept in await stored("A")}
    second = {kept.key: kept.partition for kept in await stored("B")}

    assert first == second
    assert len(first) == COUNT
    assert set(first.values()) == set(range(PARTITIONS))


async def test_requests_may_want_other_programs_and_have_other_ids() -> None:
    producer = RecordingProducer()
    await Backlog(producer, "p.", "unused", COUNT, lambda number: [f"P{number % 3}", "BOTH"], uuid4).store()
    decoder = Decoder({TOPIC: MESSAGE_RENDER}, frozenset())

    requests = [decoder.decode(as_record(kept)).request for kept in producer.kept[TOPIC]]

    assert {request.names for request in requests} == {(f"P{number}", "BOTH") for number in range(3)}
    assert {str(request.id)[14] for request in requests} == {"4"}
