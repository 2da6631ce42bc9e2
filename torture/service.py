"""A remote code service that misbehaves on demand. It is idempotent by request id."""

import asyncio
import random
from typing import Final

from tests.support.remote_server import Asked, RemoteServer, Reply, answer, dripping, reply

# Above this deployment's remote timeout.
_LATE_S: Final = 1.5


class Service:
    """Answers requests correctly, or in one of many wrong ways while it misbehaves."""

    def __init__(self, chance: random.Random) -> None:
        self.misbehaves = False
        self.wrongs = 0
        self._chance = chance

    async def __call__(self, asked: Asked, server: RemoteServer) -> Reply:
        codes = server.new_codes(asked)
        right = answer(asked, list(codes))
        if not self.misbehaves or self._chance.random() < 0.3:
            return reply(right)
        self.wrongs += 1
        wrong = self._chance.randrange(7)
        if wrong == 0:
            # A success that arrives after the client's timeout.
            await asyncio.sleep(_LATE_S)
            return reply(right)
        return (
            dripping(right, 0.01),
            Reply((b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",)),
            reply({}, 500),
            reply(b"<html>"),
            reply({**right, "codes": [*right["codes"], {"code": "one-too-many"}]}),
            reply({**right, "request_id": "0198f0a2-7c44-7bb1-8a53-1f2f5f0a9b10"}),
        )[wrong - 1]
