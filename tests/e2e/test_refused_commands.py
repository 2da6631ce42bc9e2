"""What people and scripts get wrong on the command line: one sentence that says what to do, and nothing is done."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.standalone.ports import free_port
from tests.support import bad_input
from tests.support.commands import Caller, Said, codewell, environment
from tests.support.fixtures import own_database, own_topics

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, kafka_bootstrap: str
) -> AsyncIterator[Caller]:
    async with own_database(postgres_url) as url, own_topics(kafka_bootstrap) as prefix:
        folder = tmp_path_factory.mktemp("stack")
        # No service runs: nothing of what is refused comes to one.
        there = Caller(
            folder, CODEWELL_HOME=str(folder / "home"), CODEWELL_POSTGRES_URL=url,
            CODEWELL_KAFKA_BOOTSTRAP=kafka_bootstrap, CODEWELL_TOPIC_PREFIX=prefix,
        )  # fmt: skip
        (await there.run("program", "create", "THERE", *bad_input.GOOD)).is_done()
        yield there
        # Whatever was refused has left nothing behind.
        programs = (await there.run("program", "list", "--json")).is_done().objects
        assert [(one["name"], one["codes_max"]) for one in programs] == [("THERE", 1000)]
        assert (await there.run("code", "list", "THERE", "--json")).is_done().objects == []


@pytest.mark.parametrize(("words", "says"), bad_input.OPTIONS)
async def test_options(stack: Caller, words: tuple[str, ...], says: tuple[str, ...]) -> None:
    (await stack.run("program", "create", *words)).is_refused(*says)


@pytest.mark.parametrize(("text", "says"), bad_input.FILES)
async def test_a_file(stack: Caller, text: str, says: tuple[str, ...]) -> None:
    (await stack.run("program", "create", "--file", "-", stdin=text)).is_refused(*says)


@pytest.mark.parametrize("words", bad_input.REQUESTS)
async def test_a_request(stack: Caller, words: tuple[str, ...]) -> None:
    (await stack.run("send", *words)).is_refused("Nothing was sent.")


@pytest.mark.parametrize("words", bad_input.USAGE, ids=" ".join)
async def test_usage(stack: Caller, words: tuple[str, ...]) -> None:
    (await stack.run(*words)).is_wrong_usage()


@pytest.mark.parametrize(("name", "value"), bad_input.VARIABLES)
async def test_a_setting(stack: Caller, name: str, value: str) -> None:
    (await stack.run("program", "list", **{name: value})).is_refused(name)


@pytest.mark.parametrize(
    "words", [("program", "show", "NOPE"), ("code", "generate", "NOPE", "1"), ("code", "list", "NOPE")], ids=" ".join
)
async def test_a_program_that_is_not_there(stack: Caller, words: tuple[str, ...]) -> None:
    (await stack.run(*words)).is_refused("NOPE")


async def test_postgres_out_of_reach(stack: Caller) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/codewell"
    for words in (("program", "list"), ("audit",), ("migrate",), ("program", "create", "X", *bad_input.GOOD)):
        said = await stack.run(*words, CODEWELL_POSTGRES_URL=url)
        said.is_refused("Cannot reach Postgres", "CODEWELL_POSTGRES_URL")


async def test_kafka_out_of_reach(stack: Caller) -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    for words in (("topics",), ("send", "message-render", "p-1", "--program", "THERE")):
        said = await stack.run(*words, CODEWELL_KAFKA_BOOTSTRAP=bootstrap)
        said.is_refused("Cannot reach Kafka", bootstrap, "CODEWELL_KAFKA_BOOTSTRAP")


async def test_topics_that_are_not_there(stack: Caller) -> None:
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
