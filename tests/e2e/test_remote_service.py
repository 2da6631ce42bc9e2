"""A remote program from the command line, with the service that people are told to try it with."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.commands import Caller, environment
from tests.support.services import Services, running_services

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE = Path(__file__).parents[2] / "examples" / "remote_service.py"
FILL_TIMEOUT_S = 30.0
GOOD = ("--codes-max", "500", "--pool-max", "100", "--campaign-can-create")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Services]:
    often = {"remote_allow": "127.0.0.0/8", "sweep_interval_s": 0.5}
    async with running_services(tmp_path_factory.mktemp("stack"), postgres_url, kafka_bootstrap, **often) as running:
        yield running
        [report] = (await running.run("audit", "--json")).is_done().objects
        assert (report["clean"], report["findings"]) == (True, [])


@asynccontextmanager
async def example(*secrets: str) -> AsyncIterator[str]:
    """The URL of the example, which knows these secrets."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), *secrets, "0", env=environment(), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = (await asyncio.wait_for(process.stdout.readline(), FILL_TIMEOUT_S)).decode()
        yield said.removeprefix("Codes at ").strip()
    finally:
        process.kill()
        await process.wait()


async def shown(stack: Services, name: str) -> dict[str, Any]:
    [one] = (await stack.run("program", "show", name, "--json")).is_done().objects
    return one


async def until_ready(stack: Services, name: str, count: int) -> None:
    deadline = time.monotonic() + FILL_TIMEOUT_S
    while (now := await shown(stack, name))["stock"]["pooled"] != count:
        assert time.monotonic() < deadline, f"the pool of {name} was not filled: {now}"


async def secrets_of(stack: Caller, name: str, *options: str) -> list[str]:
    found = (await stack.run("program", "secret", name, "--json", *options)).is_done().objects
    assert [one["ends_at"] is None for one in found] == [True] + [False] * (len(found) - 1)
    return [one["secret"] for one in found]


async def test_a_pool_filled_by_the_example(stack: Services) -> None:
    nowhere = ("--remote-url", "http://127.0.0.1:1/", "--request-max", "30", "--field", "discount")
    (await stack.run("program", "create", "SPRING", *nowhere, *GOOD)).is_done()
    [old] = await secrets_of(stack, "SPRING")
    new, kept = await secrets_of(stack, "SPRING", "--rotate")
    assert kept == old
    # The service has not changed over to the new secret yet.
    async with example(old) as url:
        (await stack.run("program", "update", "SPRING", "--remote-url", url, "--request-max", "30")).is_done()
        await until_ready(stack, "SPRING", 100)
        said = (await stack.run("code", "generate", "SPRING", "5", "--field", "discount=10")).is_done()
        assert re.fullmatch(r"Ordered 5 codes: 5 on order, 100 in the pool\.\n", said.out)
        await until_ready(stack, "SPRING", 105)
    listed = (await stack.run("code", "list", "SPRING", "--limit", "200", "--json")).is_done().objects
    assert sorted(one["fields"].get("discount", "") for one in listed) == [""] * 100 + ["10"] * 5
    lines = (await stack.run("program", "show", "SPRING")).is_done().out
    for line in (r"on_order +0", r"requests_open +0", r"circuit +closed", r"failures +0"):
        assert re.search(f"^{line}$", lines, re.MULTILINE)
    assert new not in lines
    assert (await stack.run("program", "secret", "SPRING")).is_done().out.startswith("secret ")


async def test_what_is_wrong_is_shown(stack: Services) -> None:
    async with example("whsec_" + "A" * 32) as url:
        (await stack.run("program", "create", "STRANGER", "--remote-url", url, *GOOD)).is_done()
        deadline = time.monotonic() + FILL_TIMEOUT_S
        while (service := (await shown(stack, "STRANGER"))["remote"])["error"] is None:
            assert time.monotonic() < deadline, service
        # While it is there: one that is gone is another fault.
        said = (await stack.run("program", "show", "STRANGER")).is_done().out
    assert service["error"] == "The service answered 401 instead of 200."
    assert re.search(r"^last_error +The service answered 401 instead of 200\.$", said, re.MULTILINE)
    assert (await shown(stack, "STRANGER"))["stock"]["made"] == 0


async def test_what_is_refused(stack: Services) -> None:
    (await stack.run("program", "create", "MINTED", "--template", "{safe 12}", "--codes-max", "9")).is_done()
    (await stack.run("program", "secret", "MINTED")).is_refused("MINTED", "has no remote service")
    (await stack.run("program", "secret", "NOBODY")).is_refused("no program NOBODY")
    create = ("program", "create", "OTHER", "--codes-max", "10", "--remote-url")
    (await stack.run(*create, "https://me:secret@codes.example/")).is_refused("no user and no password")
    (await stack.run(*create, "ftp://codes.example/")).is_refused("--remote-url", "must be a URL")
    (await stack.run("program", "create", "FEW", "--remote-url", "http://127.0.0.1:1/", "--codes-max", "10")).is_done()
    (await stack.run("code", "generate", "FEW", "11")).is_refused("room for 10")
    (await stack.run("program", "update", "FEW", "--template", "{safe 12}")).is_refused("cannot change")
