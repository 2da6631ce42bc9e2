"""What people and scripts get wrong on the command line: one sentence that says what to do, and nothing is done."""

import asyncio
import errno
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka.errors import KafkaTimeoutError

from codewell.client.exchange import Exchange
from codewell.infra.postgres import migration_locks as locks
from codewell.infra.postgres.connection import connection as connected
from services.cli.output import with_database
from services.standalone.ports import free_port
from tests.support import bad_input
from tests.support.commands import CODEWELL, Caller, Said, codewell, environment, run_to_end
from tests.support.fixtures import own_database, own_topics
from tests.support.servers import as_role

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


async def test_an_option_that_postgres_does_not_know(stack: Caller) -> None:
    url = f"{stack.variables['CODEWELL_POSTGRES_URL']}?channel_binding=prefer"
    for words in (("program", "list"), ("migrate",)):
        said = await stack.run(*words, CODEWELL_POSTGRES_URL=url)
        said.is_refused("CODEWELL_POSTGRES_URL has options that Postgres refuses", '"channel_binding"')


async def test_postgres_that_ends_a_migration(stack: Caller) -> None:
    """As a restart of the server does: here while it waits for another migration."""
    async with connected(stack.variables["CODEWELL_POSTGRES_URL"], "other") as other, locks.alone(other):
        running = asyncio.create_task(stack.run("migrate"))
        end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
        while not await other.fetchval(f"{end} AND datname = current_database()", "codewell-migrate"):
            assert not running.done()
            await asyncio.sleep(0.05)
        (await running).is_refused("failed", "run codewell migrate again")


async def test_a_user_who_may_not_switch_the_stream_off(stack: Caller) -> None:
    url = as_role(stack.variables["CODEWELL_POSTGRES_URL"], "console")
    said = await stack.run("lifecycle", "--drop-slot", CODEWELL_POSTGRES_URL=url)
    said.is_refused("lacks a right", "owner of the schema")


async def test_kafka_out_of_reach(stack: Caller) -> None:
    bootstrap = f"127.0.0.1:{free_port()}"
    for words in (("topics",), ("send", "message-render", "p-1", "--program", "THERE")):
        said = await stack.run(*words, CODEWELL_KAFKA_BOOTSTRAP=bootstrap)
        said.is_refused("Cannot reach Kafka", bootstrap, "CODEWELL_KAFKA_BOOTSTRAP")


async def test_topics_that_are_not_there(stack: Caller) -> None:
    said = await stack.run("send", "message-render", "p-1", "--program", "THERE", CODEWELL_TOPIC_PREFIX="other.")
    said.is_refused("no topic other.", "codewell topics")


async def test_kafka_that_stalls_after_requests_were_sent(stack: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def publish(*_: object) -> None:
        raise KafkaTimeoutError

    monkeypatch.setattr(Exchange, "publish", publish)
    said = await stack.run("send", "message-render", "p-1", "--program", "THERE")
    said.is_refused("KafkaTimeoutError", "before you send again")


async def test_what_libraries_log_is_not_shown(tmp_path: Path) -> None:
    fails = "lambda **_: logging.getLogger('asyncio').error('Future exception was never retrieved')"
    program = f"import logging, services.cli as cli; cli.codewell = {fails}; cli.main()"
    said = await run_to_end(sys.executable, "-c", program, env=environment(), cwd=Path(__file__).parents[2])
    assert said == (0, "", "")


async def test_texts_that_are_not_utf8(stack: Caller) -> None:
    (stack.folder / "latin").write_bytes("Jürgen\n".encode("latin-1"))
    for words in (("send", "message-render", "--program", "THERE"), ("receipt",)):
        (await stack.run(*words, "--file", "latin")).is_wrong_usage("--file", "must be UTF-8 text")
    for words in (("scenario-step", "\udcff", "--program", "THERE"), ("message-render", "p-1", "--program", "\udcff")):
        (await stack.run("send", *words)).is_refused("not a text in UTF-8", "Nothing was sent.")
    (await stack.run("program", "show", "\udcff")).is_refused("Postgres cannot store", "correct it")


async def test_a_number_that_is_too_large(stack: Caller) -> None:
    (await stack.run("audit", "log", "--before", "9" * 20)).is_refused("Postgres cannot store", "correct it")


async def test_a_full_disk_under_the_output(stack: Caller) -> None:
    words = ("/bin/sh", "-c", 'exec "$@" > /dev/full', "sh", *CODEWELL, "program", "list")
    for unbuffered in ("", "1"):
        env = environment(**stack.variables, PYTHONUNBUFFERED=unbuffered)
        said = await run_to_end(*words, env=env, cwd=stack.folder)
        said.is_refused("Cannot write the output (No space left on device)")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
async def test_output_that_fails_is_no_fault_of_postgres(
    stack: Caller, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def work(*_: object) -> None:
        raise OSError(number, "while a result is printed")

    for name, value in stack.variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="while a result is printed") as caught:
        await asyncio.to_thread(with_database, work)
    assert caught.value.errno == number


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
