"""A load that continues during faults: requests, copies of them in any order on any partition, and poison records."""

import asyncio
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from codewell.client.exchange import OutgoingRequest
from codewell.infra.uuid7 import uuid7
from torture.campaign import requests

POISON_ID: Final = "poison_id"
"""Header that identifies a poison record in the dead-letter topic."""
WAITING_MAX: Final = 400
_AT_ONCE: Final = 20
_PAUSE_S: Final = 0.02
# Shares of duplicated requests: one to four copies at once, and copies long after the answer.
_AGAIN_SHARE: Final = 0.05
_REPLAY_SHARE: Final = 0.03
_REMEMBERED: Final = 20_000


class Load:
    """Publishes while the backlog is small enough; `waiting` returns the backlog."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        prefix: str,
        chance: random.Random,
        rate_per_s: float,
        waiting: Callable[[], int],
    ) -> None:
        self.published = 0
        self.copies = 0
        self.poisoned = 0
        self.paused = False
        self.waiting_max = WAITING_MAX
        self._producer = producer
        self._prefix = prefix
        self._chance = chance
        self._requests = requests(chance)
        self._pause_s = _AT_ONCE / rate_per_s
        self._waiting = waiting
        self._before: deque[OutgoingRequest] = deque(maxlen=_REMEMBERED)

    async def run(self) -> None:
        """Publish until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.paused or self._waiting() >= self.waiting_max:
                await asyncio.sleep(_PAUSE_S)
                due = loop.time()
                continue
            await self._publish_some()
            due += self._pause_s
            # A delay above 1 s is skipped, not made up for.
            due = max(due, loop.time() - 1)
            await asyncio.sleep(due - loop.time())

    async def poison(self, count: int) -> None:
        """Publish unreadable records among readable ones."""
        sends = []
        for _ in range(count):
            value, headers = self._chance.choice(_POISONS)()
            topic = self._chance.choice(("message-render", "scenario-step"))
            marked = [*headers, (POISON_ID, str(uuid4()).encode())]
            self.poisoned += 1
            sends.append(await self._producer.send(self._prefix + topic, value, key=b"p-1", headers=marked))
        await asyncio.gather(*sends)

    async def _publish_some(self) -> None:
        sending = [next(self._requests).request for _ in range(_AT_ONCE)]
        self.published += len(sending)
        fresh = len(sending)
        for one in sending[:fresh]:
            if self._chance.random() < _AGAIN_SHARE:
                sending += [one] * self._chance.randrange(1, 5)
            if self._before and self._chance.random() < _REPLAY_SHARE:
                sending.append(self._chance.choice(self._before))
        self.copies += len(sending) - fresh
        # A copy may arrive before the original, which then counts as the copy.
        first = set(range(fresh))
        order = list(range(len(sending)))
        self._chance.shuffle(order)
        await asyncio.gather(*[await self._send(sending[index], anywhere=index not in first) for index in order])
        self._before.extend(sending[:fresh])

    async def _send(self, request: OutgoingRequest, *, anywhere: bool) -> Awaitable[object]:
        """Copies go to any partition, so that two workers may have a request at the same time."""
        topic = self._prefix + request.topic
        partition = None
        if anywhere:
            partition = self._chance.choice(sorted(await self._producer.partitions_for(topic)))
        sent: Awaitable[object] = await self._producer.send(
            topic, request.value, key=request.key, headers=request.headers, partition=partition
        )
        return sent


def _named(**changed: bytes) -> list[tuple[str, bytes]]:
    headers = {
        "ce_specversion": b"1.0",
        "ce_id": str(uuid7()).encode(),
        "ce_source": b"/test",
        "ce_type": b"dev.codewell.message-render.v1",
    }
    return list((headers | changed).items())


_Poison = tuple[bytes | None, list[tuple[str, bytes]]]
_RIGHT: Final = json.dumps({"profile_id": "p-1", "programs": ["SPRING"]}).encode()


def _bad_utf8() -> _Poison:
    return b'{"profile_id": "\xff\xfe", "programs": ["SPRING"]}', _named()


def _wrong_schema() -> _Poison:
    return b'{"profile_id": 7, "programs": "SPRING"}', _named()


def _huge() -> _Poison:
    return b'{"profile_id": "p-1", "template": "' + b"x" * 1_000_000, _named()


def _empty() -> _Poison:
    return b"", _named()


def _nothing() -> _Poison:
    return None, _named()


def _deep() -> _Poison:
    return b"[" * 50_000, _named()


def _no_headers() -> _Poison:
    return _RIGHT, []


def _no_uuid() -> _Poison:
    return _RIGHT, _named(ce_id=b"17")


def _other_version() -> _Poison:
    return _RIGHT, _named(ce_specversion=b"9")


_POISONS: Final = (
    _bad_utf8,
    _wrong_schema,
    _huge,
    _empty,
    _nothing,
    _deep,
    _no_headers,
    _no_uuid,
    _other_version,
)
