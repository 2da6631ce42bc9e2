"""Consoles in this process on one database, and clients with tokens of their own."""

import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
from fastapi import FastAPI

from codewell.access import tokens
from codewell.access.tokens import Scope
from codewell.infra.postgres.connection import Pool
from services.console.api import create_api
from services.console.context import Context
from services.console.settings import ConsoleSettings

_NOWHERE = "127.0.0.1:1"


def create_console(pool: Pool, misses_per_minute: int = 60) -> FastAPI:
    """A console that publishes nothing to Kafka."""
    settings = ConsoleSettings(
        postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap=_NOWHERE, misses_per_minute=misses_per_minute,
        import_bytes_max=100_000,
    )  # fmt: skip
    return create_api(Context.of(settings, pool))


class Consoles:
    """Makes clients, each with a new token. Consoles have their role's rights; the owner creates the tokens."""

    def __init__(self, pool: Pool, owners: Pool, stack: AsyncExitStack) -> None:
        self.pool = pool
        self.owners = owners
        self.api = create_console(pool)
        self._stack = stack
        self._numbers = itertools.count(1)

    async def client(self, *scopes: Scope, groups: Sequence[str] = (), api: FastAPI | None = None) -> httpx.AsyncClient:
        """Make a client whose token has these scopes and groups."""
        _, secret = await self.token(*scopes, groups=groups)
        return await self.with_secret(secret, api)

    async def token(self, *scopes: Scope, groups: Sequence[str] = ()) -> tuple[str, str]:
        """Create a token; returns its name and secret."""
        async with self.owners.acquire() as connection:
            made, secret = await tokens.create(connection, f"t{next(self._numbers)}", scopes, groups)
        return made.name, secret

    async def with_secret(self, secret: str | None, api: FastAPI | None = None) -> httpx.AsyncClient:
        """Make a client that sends this secret, or none."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        transport = httpx.ASGITransport(api or self.api)
        client = httpx.AsyncClient(transport=transport, base_url="http://console/api/v1", headers=headers)
        return await self._stack.enter_async_context(client)


def settings(name: str = "SPRING", **changed: Any) -> dict[str, Any]:
    """A program as JSON; it has so few codes that they can be guessed."""
    source = {"kind": "template", "template": name + "-{upstring 4}"}
    return {"name": name, "source": source, "codes_max": 1_000, "allow_guessable": True, **changed}


def is_problem(answer: httpx.Response, status: int, *words: str) -> None:
    """Fail unless the response is a problem of this status whose detail contains these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["title"]
    assert all(word in problem["detail"] for word in words), problem
