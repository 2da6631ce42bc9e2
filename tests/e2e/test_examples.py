"""What senders read is true: each example and each block of code runs as it stands, all on one stack."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import pytest
import pytest_asyncio

from tests.support.commands import Said, Stack, running_stack
from tests.support.documented import ROOT, Workplace, blocks

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # A first build downloads its packages.
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="a stack that is left behind ends with the test on Linux only"),
]

PAGE: Final = ROOT / "examples" / "README.md"
# The programs that build and run each example; where one is missing, the example is skipped.
TOOLS: Final = {"Python": [], "Java": ["java", "mvn"], "Java with Spring": ["java", "mvn"], "Node.js": ["node", "npm"],
                "Go": ["go"]}  # fmt: skip
MESSAGE: Final = re.compile(r"^(p-[1-3]): Hello! Your code is ([A-Za-z]{4}-\d{4}-[A-Z]{4})$", re.MULTILINE)
ROLE_LINES_MAX: Final = 8
# The step before the roles makes the program that all of them use.
COMMON: Final = "Quick start"
ROLES: Final = ("Marketer", "Sender", "Shop", "Operator")
REPLY_TOPIC: Final = "spring-answers"


class Started(NamedTuple):
    """A stack with the program of the examples, and their builds, which run beside everything else."""

    stack: Stack
    place: Workplace
    builds: dict[str, asyncio.Task[Said]]


def lines_of(title: str) -> tuple[str, list[str]]:
    """How an example is built, and the commands that run it."""
    [block] = blocks(PAGE, "sh")[title]
    lines = block.splitlines()
    runs = [line for line in lines if line.endswith("p-1 p-2 p-3")]
    return "\n".join(line for line in lines if line not in runs), runs


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Started]:
    folder = tmp_path_factory.mktemp("examples")
    place = Workplace(folder, folder / ".codewell")
    wanted = {
        "Python",
        *(one.callspec.params.get("title") for one in request.session.items if hasattr(one, "callspec")),
    }
    builds = {
        title: asyncio.create_task(place.run(lines_of(title)[0]))
        for title, tools in TOOLS.items()
        if all(map(shutil.which, tools)) and title in wanted
    }
    try:
        async with running_stack(folder / ".codewell", CODEWELL_REPLY_TOPICS=REPLY_TOPIC) as stack:
            assert await place.run_clean(blocks(ROOT / "README.md", "sh")[COMMON][0])
            yield Started(stack, place, builds)
    finally:
        for build in builds.values():
            build.cancel()
        await asyncio.wait(builds.values())


@pytest.mark.parametrize(
    "title", [pytest.param(title, marks=pytest.mark.nightly if tools else ()) for title, tools in TOOLS.items()]
)
async def test_an_example_gets_a_code_for_each_profile(started: Started, title: str) -> None:
    if title not in started.builds:
        pytest.skip(f"it needs {' and '.join(TOOLS[title])}")
    said = await started.builds[title]
    assert said.status == 0, said
    [address] = blocks(PAGE, "sh")["Examples"]
    _, runs = lines_of(title)
    for run in runs:
        out = await started.place.run_clean(address + run)
        found = dict(MESSAGE.findall(out))
        assert found.keys() == {"p-1", "p-2", "p-3"}, out
        assert len(set(found.values())) == len(out.splitlines()) == 3
        without = await started.place.run(address + run.removesuffix(" p-1 p-2 p-3"))
        assert without.status != 0
        assert "usage: " in without.err
        assert "Traceback" not in without.err


@pytest.mark.parametrize("name", ["sender", "plain"])
async def test_a_python_example_without_a_broker_says_so(started: Started, name: str) -> None:
    assert (await started.builds["Python"]).status == 0
    words = ("python", f"examples/python/{name}.py", "p-1")
    said = await started.place.run_program(*words, KAFKA_BOOTSTRAP="127.0.0.1:1")
    assert said.status == 1
    assert "127.0.0.1:1" in said.err
    assert "Traceback" not in said.err


async def test_every_example_is_run() -> None:
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    # The last three need no stack: tests/integration/schema and tests/unit/examples.
    assert folders == {"python", "java", "java-spring", "node", "go", "check", "lifecycle", "receipts"}
    assert blocks(PAGE, "sh").keys() == {"Examples", *TOOLS}


@pytest.mark.parametrize("role", ROLES[::-1])
async def test_the_quick_start_runs_for_a_role(started: Started, role: str) -> None:
    """In any order: a role needs nothing of another one."""
    [block] = blocks(ROOT / "README.md", "sh")[role]
    assert len(block.splitlines()) <= ROLE_LINES_MAX
    assert await started.place.run_clean(block)


async def test_the_quick_start_has_these_roles() -> None:
    assert list(blocks(ROOT / "README.md", "sh")) == [COMMON, *ROLES]


async def test_the_blocks_of_the_client_run(started: Started) -> None:
    endpoints = started.stack.endpoints
    assert (await started.builds["Python"]).status == 0
    for title, programs in blocks(ROOT / "client" / "README.md", "python").items():
        for program in programs:
            text = program.replace("localhost:9092", endpoints["kafka_bootstrap"])
            text = text.replace("http://localhost:8080", endpoints["api_url"])
            assert text != program, title
            said = await started.place.run_program("python", "-c", text, CODEWELL_TOKEN=endpoints["admin_token"])
            assert said.status == 0, (title, said)
            assert not said.err, (title, said)
            assert said.out
