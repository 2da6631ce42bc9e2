"""Commands read what partitions have now: neither a pause of the client nor a fetch that is held delays them."""

from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.consumer import fetcher
from aiokafka.protocol.fetch import FetchRequest

from codewell.infra.kafka import reading
from schemas.topics import DECIDED, dead_letters_of

HELD_MS_MAX = 20


async def test_many_partitions_are_read_without_a_wait(
    kafka_bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [prefix + dead_letters_of(name) for name in DECIDED]
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for name in names:
            for partition in (0, 1):
                await producer.send_and_wait(name, b"value", partition=partition)
    held: list[int] = []
    rounds: list[object] = []
    build, ask = FetchRequest.build, fetcher.Fetcher._proc_offset_requests

    def fetching(self: FetchRequest, version: Any) -> Any:
        held.append(self._max_wait_ms)
        return build(self, version)

    async def asking(self: fetcher.Fetcher, wanted: object) -> Any:
        rounds.append(wanted)
        return await ask(self, wanted)

    monkeypatch.setattr(FetchRequest, "build", fetching)
    monkeypatch.setattr(fetcher.Fetcher, "_proc_offset_requests", asking)
    partitions = await reading.partitions(kafka_bootstrap, names)
    assert len(partitions) == 2 * len(names)
    async with reading.open_reader(kafka_bootstrap) as reader:
        spans = await reader.offset_ranges(partitions)
        # One for the ends and one for the beginnings, though the client knew none of the topics.
        assert len(rounds) == 2
        values = [record.value for tp in partitions async for record in reader.records(tp, spans[tp])]
    assert values == [b"value"] * len(partitions)
    assert 0 < max(held) <= HELD_MS_MAX
