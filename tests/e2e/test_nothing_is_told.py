"""No log, figure or trace of a whole stack has a code or a profile id, whatever went wrong in it."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from codewell.client.exchange import build_request
from tests.e2e.test_standalone import workers
from tests.support.collector import collector
from tests.support.commands import Stack, running_stack
from tests.support.monitoring import places

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a stack that is left behind ends with the test on Linux only"
)

LIMIT_S = 60.0
WORKERS = ("issuer-1", "generator", "console")
# What Postgres refuses of these ids, it tells with the whole row.
POISON = "-poison"
EVENTS = {"undecidable", "request_broke", "profiles_not_read", "profile_event_unreadable", "event_unreadable",
          "waiting", "answered"}  # fmt: skip
CREATE = ("--codes-max", "100000", "--pool-max", "500")


class Customers:
    """Profile ids that stand for nothing else, each noted as it is used."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def new(self, ending: str = "") -> str:
        self.ids.append(f"customer-{uuid4().hex}{ending}")
        return self.ids[-1]


async def test_a_whole_run_tells_no_code_and_no_profile(tmp_path: Path) -> None:
    customers = Customers()
    home = tmp_path / "home"
    variables = {"CODEWELL_LOG_LEVEL": "debug", "CODEWELL_SWEEP_INTERVAL_S": "0.5", "CODEWELL_TRACE_SHARE": "1"}
    with collector() as traces:
        variables["CODEWELL_OTLP_ENDPOINT"] = traces.url
        output, secrets, token = await whole_run(home, customers, variables)
    output["traces"] = "\n".join(body.decode("latin-1") for body in traces.bodies)
    told = {
        name: [line for line in text.splitlines() if any(secret in line for secret in secrets)]
        for name, text in output.items()
    }
    assert {name: lines[:2] for name, lines in told.items() if lines} == {}
    assert [name for name, text in output.items() if token in text] == []
    # What was provoked was told of: otherwise there would have been nothing to find.
    lines = [json.loads(line) for name in WORKERS for line in output[f"{name}.log"].splitlines()]
    assert all(line.keys() >= {"event", "level", "timestamp", "service"} for line in lines)
    assert {line["event"] for line in lines} >= EVENTS
    assert "duplicate key value violates unique constraint" in output["postgres.log"]
    assert "violates check constraint" in output["postgres.log"]
    assert {span.name for span in traces.spans} >= {"process message-render", "POST /programs/{name}/codes:attach"}


async def whole_run(
    home: Path, customers: Customers, variables: dict[str, str]
) -> tuple[dict[str, str], set[str], str]:
    """All that was written by whom, what must not be in it, and the token that must not either."""
    async with running_stack(home, **variables) as stack, connected(stack) as database:
        create = ("program", "create")
        template = ("--template", "{string 8}-{number 6}")
        (await stack.run(*create, "MINTED", *template, *CREATE, "--campaign-can-create")).is_done()
        (await stack.run(*create, "OTHER", *template, *CREATE)).is_done()
        (await stack.run(*create, "BROUGHT", "--import-only", *CREATE)).is_done()
        await people_work(stack, customers)
        await programs_work(stack, customers)
        await senders_work(stack, customers)
        await the_database_refuses(stack, customers, database)
        figures = await all_figures(stack)
        await things_die(stack, customers)
        secrets = await used(stack, customers)
        token = stack.endpoints["admin_token"]
        assert await stack.ended(signal.SIGTERM, LIMIT_S) == 0
    logs = {path.name: path.read_text(errors="replace") for path in (home / "logs").iterdir()}
    return logs | figures | {"standalone": stack.said}, secrets, token


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(stack.endpoints["postgres_url"])
    try:
        yield opened
    finally:
        await opened.close()


async def people_work(stack: Stack, customers: Customers) -> None:
    """Commands, those that are refused among them."""
    rows = [f"BROUGHT-{uuid4().hex},{customers.new()}" for _ in range(20)]
    file = stack.home.parent / "codes.csv"
    file.write_text("\n".join(["code,profile_id", *rows, rows[0], f",{customers.new()}", ""]))
    columns = ("--profile-column", "profile_id", "--column", "code")
    (await stack.run("code", "import", "BROUGHT", str(file), *columns)).is_done()
    brought = rows[0].partition(",")[0]
    assert (await stack.run("code", "attach", "BROUGHT", customers.new(), brought)).status == 1
    (await stack.run("code", "activate", "BROUGHT", brought)).is_done()
    assert (await stack.run("code", "activate", "BROUGHT", brought)).status == 1
    assert (await stack.run("code", "show", "MINTED", brought)).status == 1
    profiles = stack.home.parent / "profiles.txt"
    profiles.write_text("\n".join(customers.new() for _ in range(5)))
    (await stack.run("code", "generate", "OTHER", "5", "--profiles", str(profiles))).is_done()
    assert (await stack.run("send", "message-render", customers.new(), "--program", "NOBODY")).status in {0, 1}
    words = ("send", "message-render", "--template", "Hello {loyalty.MINTED.promocode}", "--file", "-")
    (await stack.run(*words, stdin="\n".join(customers.new() for _ in range(50)))).is_done()
    (await stack.run("profile", "forget", customers.ids[1])).is_done()


async def programs_work(stack: Stack, customers: Customers) -> None:
    """Requests to the API, most of them wrong."""
    url, headers = stack.endpoints["api_url"], {"Authorization": f"Bearer {stack.endpoints['admin_token']}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=f"{url}/api/v1") as client:
        path = "/programs/MINTED"
        code = (await client.post(f"{path}/codes:attach", json={"profile_id": customers.new()})).json()["code"]
        statuses = []
        for method, place, body in (
            ("POST", f"{path}/codes:attach", {"profile_id": [customers.new()]}),
            ("POST", f"{path}/codes:attach", {"profile_id": customers.new(), "code": code}),
            ("POST", f"{path}/codes:attach", {customers.new(): 1}),
            ("POST", "/programs/OTHER/codes:activate", {"code": code}),
            ("POST", f"{path}/codes:activate", {"code": [code]}),
            ("GET", f"/programs/OTHER/codes/{code}", None),
            ("GET", f"/programs/{code}", None),
            ("PUT", f"/programs/MINTED/codes/{code}", None),
            ("PATCH", f"{path}/codes/{code}", {"expires_at": code}),
            ("GET", f"{path}/codes?profile_id={customers.new()}&limit={code}", None),
            ("PUT", f"/profiles/{customers.new()}", {"fields": {"name": [customers.new()]}}),
            ("GET", f"/made-up/{code}/{customers.new()}", None),
        ):
            statuses.append((await client.request(method, place, json=body)).status_code)
        assert all(400 <= status < 500 for status in statuses), statuses
        broken = f'{{"profile_id": "{customers.new()}"'
        answer = await client.post(f"{path}/codes:attach", content=broken, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}
        assert (await client.put(f"/profiles/{customers.new()}", json={"fields": {"name": "x"}})).is_success
        assert (await client.get(f"{path}/codes/{code}")).is_success
        assert (await client.delete(f"{path}/codes/{code}")).is_success


async def senders_work(stack: Stack, customers: Customers) -> None:
    """Requests that come twice, and records that nobody can read."""
    async with producer(stack) as kafka:
        for partition in range(3):
            given = {"profile_id": customers.new(), "campaign_id": "c", "programs": ["MINTED"]}
            one = build_request("message-render", given)
            for place in (partition, partition + 1, partition):
                await kafka.send(one.topic, one.value, key=one.key, headers=one.headers, partition=place)
        bad = f'{{"profile_id": "{customers.new()}", "campaign_id": 1, "programs": ["{customers.new()}"]'
        for value in (bad, bad + "}", f'"{customers.new()}"', customers.new()):
            key = customers.new().encode()
            for topic in ("message-render", "scenario-step", "profile-changed", "pool-demand", "program-changed"):
                await kafka.send(topic, value.encode(), key=key, headers=one.headers)
        await kafka.send("profile-changed", b"{}", key=b"\xff" + customers.new().encode())
        await kafka.send("profile-changed", None, key=customers.ids[2].encode())
        await kafka.flush()
    await answered(stack, customers)


async def the_database_refuses(stack: Stack, customers: Customers, database: asyncpg.Connection) -> None:
    """Errors whose details have codes and profile ids in them, in each of the workers and in Postgres itself."""
    for table, column in (("answer", "profile_id"), ("profile", "profile_id")):
        await database.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT no_poison CHECK ({column} NOT LIKE '%{POISON}') NOT VALID"
        )
    poison = customers.new(POISON)
    async with producer(stack) as kafka:
        one = build_request("message-render", {"profile_id": poison, "campaign_id": "c", "programs": ["MINTED"]})
        await kafka.send(one.topic, one.value, key=one.key, headers=one.headers)
        await kafka.send("profile-changed", json.dumps({"profile_id": poison, "fields": {"a": "b"}}).encode(),
                         key=poison.encode())  # fmt: skip
        await kafka.flush()
    url, headers = stack.endpoints["api_url"], {"Authorization": f"Bearer {stack.endpoints['admin_token']}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=f"{url}/api/v1") as client:
        attach = {"profile_id": customers.new(POISON)}
        assert (await client.post("/programs/MINTED/codes:attach", json=attach)).status_code == 500
    await logged(stack, "issuer-1", "undecidable")
    await logged(stack, "generator", "profiles_not_read")
    await database.execute("ALTER TABLE profile DROP CONSTRAINT no_poison")
    with suppress(asyncpg.UniqueViolationError):
        await database.execute("INSERT INTO code SELECT block_id, position + 1000, program_id, text FROM code")


async def things_die(stack: Stack, customers: Customers) -> None:
    """Sessions of Postgres and workers end in the middle of their work."""
    for die in (sessions_end, an_issuer_dies, a_session_dies):
        words = ("send", "message-render", "--program", "MINTED", "--file", "-", "--timeout", "50")
        profiles = "\n".join(customers.new() for _ in range(300))
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(stack.run(*words, stdin=profiles))
            await die(stack)
        sending.result().is_done()


async def sessions_end(stack: Stack) -> None:
    async with connected(stack) as database:
        for _ in range(10):
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'codewell-%'"
            )
            await answered_some(database)


async def answered_some(database: asyncpg.Connection) -> None:
    """Wait until a worker has begun a session anew."""
    deadline = time.monotonic() + LIMIT_S
    while not await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'codewell-issuer'"
    ):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def an_issuer_dies(stack: Stack) -> None:
    [issuer] = workers(stack, "issuer")
    os.kill(issuer, signal.SIGKILL)


async def a_session_dies(stack: Stack) -> None:
    """Postgres ends all others then, and tells what this one was doing."""
    database = await asyncpg.connect(stack.endpoints["postgres_url"])
    try:
        os.kill(await database.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await database.fetchval("SELECT pg_sleep(10)")
    finally:
        database.terminate()


async def answered(stack: Stack, customers: Customers) -> None:
    """Wait until an issuer has come past all that was published."""
    (await stack.run("send", "message-render", customers.new(), "--program", "MINTED", "--timeout", "50")).is_done()


async def logged(stack: Stack, worker: str, event: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while f'"event": "{event}"' not in (stack.home / "logs" / f"{worker}.log").read_text():
        assert time.monotonic() < deadline, event
        await asyncio.sleep(0.1)


@asynccontextmanager
async def producer(stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    kafka = AIOKafkaProducer(bootstrap_servers=stack.endpoints["kafka_bootstrap"])
    await kafka.start()
    try:
        yield kafka
    finally:
        await kafka.stop()


async def all_figures(stack: Stack) -> dict[str, str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return {
            f"figures of {name}": (await client.get(f"http://{place}/metrics")).text
            for name, place in places(stack).items()
        }


async def used(stack: Stack, customers: Customers) -> set[str]:
    """All codes that anybody ever got or brought, and all profile ids."""
    async with connected(stack) as database:
        codes = await database.fetch("SELECT code FROM answer WHERE code IS NOT NULL UNION SELECT text FROM code")
    assert len(codes) > 900
    return {row[0] for row in codes} | set(customers.ids)
