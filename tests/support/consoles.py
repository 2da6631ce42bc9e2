"""Consoles in this process on one database, and clients with tokens of their own."""

import asyncio
import itertools
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, cast

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from codewell.access import tokens
from codewell.infra.postgres.connection import Pool
from schemas.api import Problem
from schemas.token import Scope
from services.console.api import create_api
from services.console.context import Context
from services.console.pages.app import add_pages
from services.console.settings import ConsoleSettings

PROBLEM_MEDIA_TYPE = "application/problem+json"
# Problems of no path.
UNDOCUMENTED = ("path_unknown", "method_not_allowed")
_NOWHERE = "127.0.0.1:1"


def create_console(pool: Pool, misses_per_minute: int = 60, **changed: Any) -> FastAPI:
    """A console that publishes nothing to Kafka, unless `changed` settings name one.

    Its state has the application of its pages, `pages`.
    """
    settings = ConsoleSettings(
        postgres_url="postgresql://127.0.0.1:1", misses_per_minute=misses_per_minute, import_bytes_max=100_000,
        **{"kafka_bootstrap": _NOWHERE, **changed},
    )  # fmt: skip
    context = Context.of(settings, pool)
    api = create_api(context)
    api.state.pages = add_pages(api, context, pool, settings, asyncio.Event())
    return api


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

    async def browser(self, *scopes: Scope, groups: Sequence[str] = ()) -> httpx.AsyncClient:
        """Make a client of the pages that is signed in with a new token. It follows no redirects."""
        _, secret = await self.token(*scopes, groups=groups)
        client = await self.anonymous_browser()
        answer = await client.post("/sign-in", data={"token": secret})
        assert answer.status_code == 303, answer.text
        return client

    async def anonymous_browser(self, api: FastAPI | None = None) -> httpx.AsyncClient:
        """Make a client of the pages that is not signed in."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(api or self.api),
            base_url="http://console",
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        return await self._stack.enter_async_context(client)

    async def with_secret(self, secret: str | None, api: FastAPI | None = None) -> httpx.AsyncClient:
        """Make a client that sends this secret, or none. It fails at a problem that the document does not list."""
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        served = api or self.api

        async def check(answer: httpx.Response) -> None:
            if answer.headers.get("content-type") == PROBLEM_MEDIA_TYPE:
                await answer.aread()
                check_documented(answer)

        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(served), base_url="http://console/api/v1", headers=headers,
            event_hooks={"response": [check]},
        )  # fmt: skip
        return await self._stack.enter_async_context(client)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, which is the same for all consoles: to make it takes longer than most tests."""
    made: dict[str, Any] = create_console(cast("Any", None)).openapi()
    return made


@cache
def _documented() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    """The pattern of each path, the path itself and its operations; paths with fewer parameters come first."""
    # Codes and profile ids may contain a slash.
    return [
        (
            re.compile(
                re.sub(r"\\{(\w+)\\}", lambda name: ".+" if name[1] in {"code", "id"} else "[^/]+", re.escape(template))
            ),
            template,
            operations,
        )
        for template, operations in sorted(document()["paths"].items(), key=lambda one: one[0].count("{"))
    ]


def check_documented(answer: httpx.Response) -> None:
    """Fail unless the OpenAPI document lists the problem's reason for the request's path and method."""
    problem = answer.json()
    method, path = answer.request.method.lower(), answer.request.url.path
    for pattern, template, operations in _documented():
        if method in operations and pattern.fullmatch(path):
            listed = operations[method]["responses"].get(str(answer.status_code), {}).get("content", {})
            reasons = listed.get(PROBLEM_MEDIA_TYPE, {}).get("examples", {})
            assert problem["reason"] in {*reasons, *UNDOCUMENTED}, f"{method} {template}: {problem}"
            return
    assert problem["reason"] in {*UNDOCUMENTED, "internal_error", "token_invalid"}, f"{method} {path}: {problem}"


@cache
def _problems() -> Draft202012Validator:
    return Draft202012Validator(Problem.model_json_schema())


def settings(name: str = "SPRING", **changed: Any) -> dict[str, Any]:
    """A program as JSON; it has so few codes that they can be guessed."""
    source = {"kind": "template", "template": name + "-{upstring 4}"}
    return {"name": name, "source": source, "codes_max": 1_000, "allow_guessable": True, **changed}


def is_problem(answer: httpx.Response, status: int, *words: str, reason: str | None = None) -> None:
    """Fail unless the response is a problem of this status whose detail contains these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() - {"errors", "figures"} == {"type", "title", "status", "detail", "reason"}
    _problems().validate(problem)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"] == f"/problems/{problem['reason'].replace('_', '-')}"
    assert reason in {None, problem["reason"]}
    assert all(word in problem["detail"] for word in words), problem


async def importing_client(consoles: Consoles) -> httpx.AsyncClient:
    """A client with all rights, and the program SPRING, which takes codes from files."""
    client = await consoles.client("admin")
    made = settings(source={"kind": "import"}, groups=["theirs"], fields=[{"name": "discount"}])
    assert (await client.post("/programs", json=made)).status_code == 201
    return client
