"""The wheel as it is installed elsewhere: without the repository, and with the libraries of one extra alone."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import Final
from uuid import uuid4
from zipfile import ZipFile

import httpx
import pytest
from packaging.requirements import Requirement

from services.standalone.ports import free_port
from tests.deploy.test_pins import with_all_below
from tests.support.commands import Said, environment
from tests.support.processes import processes_in

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("issuer", "generator", "console")
NEEDS: Final = {"issuer": "issuer", "generator": "generator", "console": "console", "standalone": "standalone",
                "demo": "standalone"}  # fmt: skip
TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.05


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what is here."""
    where = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(where), str(ROOT))
    [built] = where.glob("codewell-*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel alone, installed by pip; to compile its modules for each test takes longest of all."""
    where = tmp_path_factory.mktemp("unpacked") / "venv"
    venv.create(where)
    pip("--python", str(where / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    return where


def pip(*words: str) -> None:
    called = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(called, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Installed:
    """A Python that has the wheel and what it needs for one extra, or for none, and an empty folder."""

    def __init__(self, unpacked: Path, extra: str, where: Path) -> None:
        self.folder = where / "folder"
        self.folder.mkdir()
        self._bin = where / "venv" / "bin"
        venv.create(self._bin.parent)
        own, packages = packages_of(unpacked), packages_of(self._bin.parent)
        for top in own.iterdir():
            (packages / top.name).symlink_to(top)
        [info] = own.glob("codewell-*.dist-info")
        for name in sorted(with_all_below(needed(PathDistribution(info), extra))):
            link(distribution(name), packages)
        script = (unpacked / "bin" / "codewell").read_text()
        (self._bin / "codewell").write_text(script.replace(str(unpacked), str(self._bin.parent)))
        (self._bin / "codewell").chmod(0o755)

    async def run(self, *words: str, program: str = "codewell", **variables: str) -> Said:
        """Run a command to its end."""
        async with self.started(*words, program=program, **variables) as process:
            out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def started(
        self, *words: str, program: str = "codewell", **variables: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs in the block, and nothing of the repository is on its path."""
        env = environment(CODEWELL_HOME=str(self.folder / "home"), COLUMNS="200", **variables)
        env.pop("PYTHONPATH", None)
        process = await asyncio.create_subprocess_exec(
            self._bin / program,
            *words,
            env=env,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.communicate(), TIMEOUT_S)


def packages_of(where: Path) -> Path:
    """The folder of packages of a virtual environment."""
    [packages] = where.glob("lib/python*/site-packages")
    return packages


def needed(installed: Distribution, extra: str) -> list[str]:
    """What the wheel's metadata asks for with this extra."""
    found = [Requirement(line) for line in installed.requires or ()]
    return [str(one) for one in found if one.marker is None or one.marker.evaluate({"extra": extra})]


def link(one: Distribution, packages: Path) -> None:
    """Put a distribution that is installed here into another folder of packages, without a copy of its files."""
    for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
        place = packages / top
        if not place.is_symlink():
            place.symlink_to(Path(str(one.locate_file(top))))


def test_it_has_its_licence_its_types_and_its_data(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert {f"{top}/py.typed" for top in tops} <= names
    # All that stands beside the code and is read by it.
    data = {
        str(path.relative_to(ROOT))
        for top in tops
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == data


async def test_commands_need_no_service(unpacked: Path, tmp_path: Path, kafka_bootstrap: str) -> None:
    installed = Installed(unpacked, "", tmp_path)
    found = await installed.run("-c", "import services, sys; print(services.__file__, *sys.path)", program="python")
    assert str(ROOT) not in found.is_done().out
    for words in (["--help"], ["program", "--help"], ["issuer", "--help"], ["code", "import", "--help"]):
        assert (await installed.run(*words)).status == 0, words
    (await installed.run("program", "list")).is_refused("CODEWELL_POSTGRES_URL is not set")
    kafka = {
        "CODEWELL_POSTGRES_URL": "postgresql://127.0.0.1:1/",
        "CODEWELL_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "CODEWELL_TOPIC_PREFIX": f"wheel{uuid4().hex[:8]}.",
    }
    (await installed.run("topics", **kafka)).is_done()
    for command, extra in NEEDS.items():
        (await installed.run(command)).is_refused("not installed", f'pip install "codewell[{extra}]"')
    (await installed.run("bench", "all")).is_refused("The benchmarks are not part of the package")
    assert list(installed.folder.iterdir()) == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_runs_with_its_extra_alone(
    service: str, unpacked: Path, tmp_path: Path, database_url: str, kafka_bootstrap: str, prefix: str
) -> None:
    installed = Installed(unpacked, service, tmp_path)
    port = str(free_port())
    variables = {
        "CODEWELL_POSTGRES_URL": database_url,
        "CODEWELL_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "CODEWELL_TOPIC_PREFIX": prefix,
        "CODEWELL_HEALTH_PORT": port,
        "CODEWELL_API_PORT": port,
    }
    async with installed.started(service, **variables) as process, httpx.AsyncClient(trust_env=False) as client:
        ended = asyncio.ensure_future(process.communicate())
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        while not ended.done() and not await is_ready(client, port):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(POLL_S)
        if not ended.done():
            process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(ended, TIMEOUT_S)
        assert process.returncode == 0, log.decode()
    # What every worker needs is all that an issuer does.
    for other in {"generator", "console"} - {service}:
        (await installed.run(other, **variables)).is_refused(f'pip install "codewell[{other}]"')


async def is_ready(client: httpx.AsyncClient, port: str) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
async def test_the_demo_runs_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    installed = Installed(unpacked, "standalone", tmp_path)
    said = await installed.run("demo", "--exit", "--messages", "200", "--steps", "50")
    assert said.status == 0, said.out + said.err
    assert said.out.count("✓") == 10
    assert "250 of 250" in said.out
    assert not re.search(re.escape(f"{ROOT}{os.sep}"), said.out + said.err)
    assert processes_in(installed.folder) == {}
    assert [path.name for path in installed.folder.iterdir()] == ["home"]
