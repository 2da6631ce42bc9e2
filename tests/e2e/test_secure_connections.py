"""Services and commands on a Postgres and a Kafka that speak TLS and ask for passwords, which come from files."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from codewell.errors import CodewellError
from codewell.infra.config.settings import StackSettings, read_settings
from services.console.main import serve
from services.console.settings import ConsoleSettings
from services.generator.main import run_generator
from services.generator.settings import GeneratorSettings
from services.issuer.main import run_issuer
from services.issuer.settings import IssuerSettings
from services.standalone.home import Home
from services.standalone.ports import free_port
from tests.support import in_process
from tests.support.certificates import Authority
from tests.support.commands import codewell, environment
from tests.support.running import until
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka, secure_kafka
from tests.support.secure_postgres import SecurePostgres, secure_postgres, tls_binaries
from tests.support.worker_processes import running_workers

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Service(NamedTuple):
    """What a service's process reads and then runs."""

    settings: type[StackSettings]
    run: Callable[[Any, asyncio.Event], Coroutine[Any, Any, None]]


SERVICES: Final = {
    "issuer": Service(IssuerSettings, run_issuer),
    "generator": Service(GeneratorSettings, run_generator),
    "console": Service(ConsoleSettings, serve),
}
GUIDE = ("--template", "{string 4}-{number 4}-{upstring 4}", "--codes-max", "1000")


class Site:
    """The servers, and the variables with which every process reaches them."""

    def __init__(self, folder: Path, postgres: SecurePostgres, kafka: SecureKafka) -> None:
        self.folder = folder
        self.postgres = postgres
        self.kafka = kafka
        self.stranger = Authority(folder, "stranger").file
        self.url = "CODEWELL_POSTGRES_URL", postgres.url().replace(f":{postgres.password}@", "@")
        self.variables = dict([self.url]) | {
            "CODEWELL_POSTGRES_PASSWORD_FILE": self._file("postgres-password", postgres.password),
            "CODEWELL_KAFKA_BOOTSTRAP": f"localhost:{kafka.sasl}",
            "CODEWELL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "CODEWELL_KAFKA_SASL_USERNAME": USER,
            "CODEWELL_KAFKA_SASL_PASSWORD_FILE": self._file("kafka-password", PASSWORD),
            "CODEWELL_KAFKA_SSL_CA_FILE": str(kafka.authority.file),
            "CODEWELL_HOME": str(folder / "none"),
            "CODEWELL_LOG_LEVEL": "debug",
            "CODEWELL_HEALTH_PORT": "-1",
            "CODEWELL_API_PORT": "0",
        }

    def _file(self, name: str, content: str) -> str:
        (self.folder / name).write_text(f"{content}\n")
        return str(self.folder / name)

    async def run(self, *words: str) -> str:
        """Run a command that does what it is asked to."""
        said = await in_process.codewell(*words, env=environment(**self.variables), cwd=self.folder)
        return said.is_done().out

    async def is_refused(self, word: str, changed: dict[str, str], *says: str, process: bool = False) -> None:
        """Fail unless this command or service ends at once with one sentence that has these words.

        A service runs here, as far as it gets, or as a process.
        """
        variables = environment(**self.variables | {"CODEWELL_START_TIMEOUT_S": "600"} | changed)
        if word in SERVICES and not process:
            sentence, told = await refused(SERVICES[word], variables)
        else:
            run = codewell if process else in_process.codewell
            said = await run(word, env=variables, cwd=self.folder)
            assert said.status == 1, said
            *_, last = said.err.splitlines()
            assert last.startswith("Error: "), said
            assert "Traceback" not in said.err
            sentence, told = last, said.err + said.out
        assert all(one in sentence for one in says), sentence
        assert self.shows_no_secret(told + sentence)

    def shows_no_secret(self, text: str) -> bool:
        return PASSWORD not in text and self.postgres.password not in text


async def refused(service: Service, variables: Mapping[str, str]) -> tuple[str, str]:
    """Why a service does not start with these variables, and its log."""
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        capture_logs() as logs,
        pytest.raises(CodewellError) as error,
    ):
        await service.run(read_settings(service.settings), asyncio.Event())
    return str(error.value), str(logs)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    programs = tls_binaries()
    if programs is None:
        pytest.skip("this machine has no Postgres that was built with TLS, and apt brings none")
    folder = tmp_path_factory.mktemp("secure")
    home = await Home.open(folder / "home")
    async with AsyncExitStack() as stack:
        stack.callback(home.close)
        kafka = await stack.enter_async_context(secure_kafka(home, folder))
        site = Site(folder, await stack.enter_async_context(secure_postgres(programs, home, folder)), kafka)
        await site.run("migrate")
        await site.run("topics")
        yield site


async def test_a_request_is_answered(site: Site) -> None:
    port = free_port()
    variables = site.variables | {"CODEWELL_API_PORT": str(port), "CODEWELL_HEALTH_PORT": "0"}
    # No timer does what the generator is to hear of by Kafka.
    variables["CODEWELL_SWEEP_INTERVAL_S"] = "3600"
    (site.folder / "workers").mkdir()
    async with (
        running_workers(site.folder / "workers", variables, "issuer", "generator", "console") as workers,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        token = (await site.run("token", "create", "shop", "--scope", "admin")).split()[-1]
        client.headers["Authorization"] = f"Bearer {token}"

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await until(ready, "console that is ready", 60)

        async def connected() -> bool:
            return '"name": "kafka"' in workers.logs()

        await until(connected, "generator that has Kafka", 60)
        made = await client.post(
            "/api/v1/programs",
            headers={"Idempotency-Key": "made"},
            json={
                "name": "SPRING", "source": {"kind": "template", "template": GUIDE[1]}, "codes_max": 1000,
                "pool_max": 100, "campaign_can_create": True,
            },
        )  # fmt: skip
        assert made.status_code == 201, made.text

        async def filled() -> bool:
            return bool((await client.get("/api/v1/programs/SPRING/stock")).json()["pooled"] == 100)

        await until(filled, "pool that is filled", 60)
        answer = await site.run("send", "message-render", "p-1", "--program", "SPRING", "--json")
        assert '"outcome":"attached"' in answer.replace(" ", "")
        metrics = (await client.get("/metrics")).text
        assert workers.deaths == []
    assert site.shows_no_secret(workers.logs() + metrics)


async def test_the_settings_that_are_shown(site: Site) -> None:
    for process in SERVICES:
        shown = await site.run("config", "show", process)
        assert f"postgresql://codewell:********@localhost:{site.postgres.port}" in shown
        assert site.shows_no_secret(shown)


KAFKA = ("topics", "issuer", "generator")


@pytest.mark.parametrize("word", [*KAFKA, "console"])
async def test_a_wrong_authority(site: Site, word: str) -> None:
    name, url = site.url
    # The other mistakes are told in the same way.
    process = word in SERVICES
    if word in KAFKA:
        wrong = {"CODEWELL_KAFKA_SSL_CA_FILE": str(site.stranger)}
        await site.is_refused(word, wrong, "Kafka", "not trusted", "CODEWELL_KAFKA_SSL_CA_FILE", process=process)
    if word != "topics":
        wrong = {name: url.replace(str(site.postgres.authority.file), str(site.stranger))}
        await site.is_refused(word, wrong, "Postgres", "not trusted", "sslrootcert", process=process)


@pytest.mark.parametrize("word", [*KAFKA, "console"])
async def test_a_wrong_name(site: Site, word: str) -> None:
    name, url = site.url
    if word in KAFKA:
        wrong = {"CODEWELL_KAFKA_BOOTSTRAP": f"127.0.0.1:{site.kafka.sasl}"}
        await site.is_refused(word, wrong, "Kafka", "another host name", "CODEWELL_KAFKA_BOOTSTRAP")
    if word != "topics":
        wrong = {name: url.replace("@localhost:", "@127.0.0.1:")}
        await site.is_refused(word, wrong, "Postgres", "another host name", "CODEWELL_POSTGRES_URL")


@pytest.mark.parametrize("word", [*KAFKA, "console"])
async def test_a_wrong_password(site: Site, word: str) -> None:
    guessed = str(site.stranger)
    if word in KAFKA:
        wrong = {"CODEWELL_KAFKA_SASL_PASSWORD_FILE": guessed}
        await site.is_refused(word, wrong, f"refused the login of user {USER}", "CODEWELL_KAFKA_SASL_PASSWORD")
    if word != "topics":
        wrong = {"CODEWELL_POSTGRES_PASSWORD_FILE": guessed}
        await site.is_refused(word, wrong, "Postgres", "refused the login", "CODEWELL_POSTGRES_URL")


@pytest.mark.parametrize("word", [*KAFKA, "console", "migrate"])
async def test_another_machine_without_tls(site: Site, word: str) -> None:
    name, _ = site.url
    wrong = {name: "postgresql://codewell@db.example/codewell"}
    await site.is_refused(word, wrong, "db.example is another host", "sslmode=verify-full")
