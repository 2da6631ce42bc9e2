"""The receiver of a webhook, which takes every delivery."""

from collections import defaultdict
from typing import Final

import asyncpg

from codewell.keys.master_keys import MasterKeys
from codewell.webhooks import endpoints
from schemas.webhooks import EventType, NewWebhook
from tests.support.remote_server import Asked, RemoteServer, Reply, reply

# Rarer than requests: generators have more to do than to deliver.
_TYPES: Final[tuple[EventType, ...]] = ("alert-raised", "alert-cleared", "codes-made")


class Receiver:
    """Remembers what came under each id."""

    def __init__(self) -> None:
        self.bodies: defaultdict[str, set[bytes]] = defaultdict(set)
        self.copies = 0

    async def __call__(self, asked: Asked, _: RemoteServer) -> Reply:
        found = self.bodies[asked.headers["webhook-id"]]
        self.copies += bool(found)
        found.add(asked.body)
        return reply(b"")


async def subscribe(connection: asyncpg.Connection, url: str) -> None:
    """Make the endpoint that the receiver serves."""
    async with connection.transaction():
        await endpoints.create(connection, MasterKeys(), NewWebhook(target=url, types=_TYPES))
