"""A producer that records its messages instead of sending them."""

import asyncio
from typing import Any, NamedTuple


class Kept(NamedTuple):
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class _Batch:
    def __init__(self) -> None:
        self.appended: list[dict[str, Any]] = []

    def append(self, **record: Any) -> object:
        self.appended.append(record)
        return record

    def close(self) -> None: ...


class RecordingProducer:
    def __init__(self) -> None:
        self.kept: dict[str, list[Kept]] = {}

    def create_batch(self) -> _Batch:
        return _Batch()

    async def send_batch(self, batch: _Batch, topic: str, partition: int) -> asyncio.Future[None]:
        self.kept.setdefault(topic, []).extend(
            Kept(partition, record["key"], record["value"], list(record["headers"])) for record in batch.appended
        )
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent
