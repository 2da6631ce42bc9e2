"""An issuer, a generator and a console in this process, and what each says of its health."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from codewell.access import tokens
from codewell.infra.uuid7 import uuid7
from services.console.main import serve
from services.console.settings import ConsoleSettings
from services.generator.main import run_generator
from services.generator.settings import GeneratorSettings
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from services.standalone.ports import LOOPBACK, free_port
from tests.support.running import running, until
from tests.support.sender_records import messages
from tests.support.site import Site

# What the product promises, from the end of a fault on (s).
HEALED_WITHIN_S = 60.0
REPLY = "message-render.reply"


class Workers:
    """One of each kind, on one stack."""

    def __init__(self, site: Site, client: httpx.AsyncClient, ports: dict[str, int]) -> None:
        self._site = site
        self._client = client
        self._ports = ports
        self._asked: set[str] = set()
        self._programs = 0

    async def waiting_for(self) -> dict[str, dict[str, str]]:
        """By worker, what it waits for and why; each that waits says so with its status too."""
        found = {}
        for name in self._ports:
            answer = await self.get(name, "/readyz")
            found[name] = answer.json()["waiting_for"]
            assert answer.status_code == (503 if found[name] else 200)
        return found

    async def wait_for(self, what: str, word: str, *names: str) -> None:
        """Wait until these workers, or all, wait for this and say why with this word; none is unhealthy for that."""

        async def wait() -> bool:
            found = await self.waiting_for()
            return all(_says(found[name], what, word) for name in names or found)

        try:
            await until(wait, f"workers that wait for {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.waiting_for()}") from error
        for name in self._ports:
            assert (await self.get(name, "/healthz")).status_code == 200

    async def heal(self) -> None:
        """Wait until nobody waits for anything, and requests of both kinds are answered."""

        async def ready() -> bool:
            return not any((await self.waiting_for()).values())

        await until(ready, "end of all waits", HEALED_WITHIN_S)
        await self.work()

    async def publish(self, count: int) -> None:
        """Publish requests, which are to be answered in the end."""
        requests = messages(count, "SPRING")
        await self._site.publish(requests)
        self._asked |= {str(request.request_id) for request in requests}

    async def work(self) -> None:
        """Have requests answered by issuer and console, and pools filled and a profile kept by the generator."""
        await self.publish(20)
        await until(self._all_answered, "answer to each request", HEALED_WITHIN_S)

        async def attached() -> bool:
            # Whoever is told to try again in a moment does.
            return (await self.attach()).is_success

        await until(attached, "attachment over HTTP", HEALED_WITHIN_S)
        await self.pools_are_filled()
        await self._profile_is_kept()

    async def _profile_is_kept(self) -> None:
        who = str(uuid7())
        value = json.dumps({"profile_id": who, "fields": {}}).encode()
        await self._site.put("profile-changed", value, key=who.encode())

        async def kept() -> bool:
            found = await self._site.database.fetchval("SELECT count(*) FROM profile WHERE profile_id = $1", who)
            return bool(found)

        await until(kept, "profile", HEALED_WITHIN_S)

    async def pools_are_filled(self) -> None:
        """Wait until the pool of a new program is full, of which nobody tells."""
        self._programs += 1
        program = await self._site.program(f"LATER_{self._programs}", campaign_can_create=True, pool_max=50)

        async def filled() -> bool:
            return (await self._site.stock(program.name)).pooled == 50

        await until(filled, "full pool", HEALED_WITHIN_S)

    async def attach(self) -> httpx.Response:
        """Attach a code over HTTP."""
        path = "/api/v1/programs/SPRING/codes:attach"
        return await self._client.post(f"http://{LOOPBACK}:{self._ports['console']}{path}", json={"profile_id": "p"})

    async def get(self, name: str, path: str) -> httpx.Response:
        """What a worker answers."""
        return await self._client.get(f"http://{LOOPBACK}:{self._ports[name]}{path}")

    async def check(self) -> None:
        """Each request has one answer, and no code is given twice."""
        rows = await self._site.database.fetch("SELECT request_id, code FROM answer")
        assert len({row["code"] for row in rows}) == len({row["request_id"] for row in rows}) == len(rows)
        decided = {str(row["request_id"]): row["code"] for row in rows}
        for request_id, answers in (await self._answers()).items():
            [answer] = answers
            assert json.loads(answer)["codes"][0]["code"] == decided[request_id]

    async def _all_answered(self) -> bool:
        return (await self._answers()).keys() == self._asked

    async def _answers(self) -> dict[str, set[bytes]]:
        """The different answers to each request that has one."""
        found: defaultdict[str, set[bytes]] = defaultdict(set)
        for record in await self._site.all_of(REPLY):
            request_id = json.loads(record.value)["request_id"]
            if request_id in self._asked:
                found[request_id].add(record.value)
        return found


def _says(said: dict[str, str], what: str, word: str) -> bool:
    return any(name.startswith(what) and word in why for name, why in said.items())


@asynccontextmanager
async def workers(site: Site, **given: Any) -> AsyncIterator[Workers]:
    """Run all three while the block runs; they are ready when it begins. `given` are settings of all."""
    ports = {name: free_port() for name in ("issuer", "generator", "console")}
    _, secret = await tokens.create(site.database, "healing", ["admin"])
    await site.program("SPRING", 10_000)
    issuer, generator, console = (site.settings(name) | given for name in ports)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            running(run_issuer, IssuerSettings(**issuer | {"health_port": ports["issuer"], "retry_delay_s": 0.1}))
        )
        generator |= {"health_port": ports["generator"], "sweep_interval_s": 0.5}
        await stack.enter_async_context(running(run_generator, GeneratorSettings(**generator)))
        console |= {"api_port": ports["console"]}
        await stack.enter_async_context(running(serve, ConsoleSettings(**console)))
        client = httpx.AsyncClient(headers={"Authorization": f"Bearer {secret}"}, trust_env=False, timeout=30)
        await stack.enter_async_context(client)
        started = Workers(site, client, ports)

        async def serve_all() -> bool:
            try:
                return all([(await started.get(name, "/healthz")).is_success for name in ports])
            except httpx.TransportError:
                return False

        async with asyncio.timeout(HEALED_WITHIN_S):
            while not await serve_all():
                await asyncio.sleep(0.02)
        await started.heal()
        yield started
