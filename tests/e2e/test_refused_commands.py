"""What people and scripts get wrong on the command line: one sentence that says what to do, and nothing is done."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.standalone.ports import free_port
from tests.support import bad_input
from tests.support.commands import Said, Stack, codewell, environment, running_stack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform != "linux", reason="a stack that is left behind ends with the test on Linux only"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path_factory.mktemp("stack") / "home", "--issuers", "1") as running:
        (await running.spawn("program", "create", "THERE", *bad_input.GOOD)).is_done()
        yield running
        # Whatever was refused has left nothing behind.
        programs = (await running.spawn("program", "list", "--json")).is_done().objects
        assert [(one["name"], one["codes_max"]) for one in programs] == [("THERE", 1000)]
        assert (await running.spawn("code", "list", "THERE", "--json")).is_done().objects == []


@pytest.mark.parametrize(("words", "says"), bad_input.OPTIONS)
async def test_options(stack: Stack, words: tuple[str, ...], says: tuple[str, ...]) -> None:
    (await stack.run("program", "create", *words)).is_refused(*says)


@pytest.mark.parametrize(("text", "says"), bad_input.FILES)
async def test_a_file(stack: Stack, text: str, says: tuple[str, ...]) -> None:
    (await stack.run("program", "create", "--file", "-", stdin=text)).is_refused(*says)


@pytest.mark.parametrize("words", bad_input.REQUESTS)
async def test_a_request(stack: Stack, words: tuple[str, ...]) -> None:
    (await stack.run("send", *words)).is_refused("Nothing was sent.")


@pytest.mark.parametrize("words", bad_input.USAGE, ids=" ".join)
async def test_usage(stack: Stack, words: tuple[str, ...]) -> None:
    (await stack.run(*words)).is_wrong_usage()


@pytest.mark.parametrize(("name", "value"), bad_input.VARIABLES)
async def test_a_setting(stack: Stack, name: str, value: str) -> None:
    (await stack.run("program", "list", **{name: value})).is_refused(name)


@pytest.mark.parametrize(
    "words", [("program", "show", "NOPE"), ("code", "generate", "NOPE", "1"), ("code", "list", "NOPE")], ids=" ".join
)
async def test_a_program_that_is_not_there(stack: Stack, words: tuple[str, ...]) -> None:
    (await stack.run(*words)).is_refused("NOPE")


async def test_postgres_out_of_reach(stack: Stack) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/codewell"
    for words in (("program", "list"), ("audit",), ("migrate",), ("program", "create", "X", *bad_input.GOOD)):
        said = await stack.run(*words, CODEWELL_POSTGRES_URL=url)
        said.is_refused("Cannot reach Postgres", "CODEWELL_POSTGRES_URL")


async def test_kafka_out_of_reach(stack: Stack) -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    for words in (("topics",), ("send", "message-render", "p-1", "--program", "THERE")):
        said = await stack.run(*words, CODEWELL_KAFKA_BOOTSTRAP=bootstrap)
        said.is_refused("Cannot reach Kafka", bootstrap, "CODEWELL_KAFKA_BOOTSTRAP")


async def test_topics_that_are_not_there(stack: Stack) -> None:
    said = await stack.run("send", "message-render", "p-1", "--program", "THERE", CODEWELL_TOPIC_PREFIX="other.")
    said.is_refused("no topic other.", "codewell topics")


async def outside(where: Path, *words: str) -> Said:
    return await codewell(*words, env=environment(CODEWELL_HOME=str(where / "home")), cwd=where)


async def test_no_stack(tmp_path: Path) -> None:
    for words in (("program", "list"), ("topics",), ("issuer",)):
        (await outside(tmp_path, *words)).is_refused("CODEWELL_POSTGRES_URL", "codewell standalone")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"kafka": "127.0.0.1:1"})])
async def test_broken_endpoints(tmp_path: Path, text: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "endpoints.json").write_text(text)
    (await outside(tmp_path, "program", "list")).is_refused(str(tmp_path / "home"))
