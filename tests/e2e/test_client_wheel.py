"""The wheel of `codewell-client` as a sender installs it: without Codewell, with what it names alone."""

import subprocess
import venv
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

from tests.deploy.test_pins import with_all_below
from tests.e2e.test_wheel import link, needed, packages_of, pip
from tests.support.commands import environment

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = """
import importlib.util, codewell_client
assert importlib.util.find_spec("codewell") is None
codewell_client.MessageRender(profile_id="p", campaign_id="c", programs=["SPRING"])
codewell_client.Sender("127.0.0.1:9092")
codewell_client.Shop("http://127.0.0.1:8080", "token")
print(codewell_client.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, built from what is here."""
    where = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(where), str(ROOT / "client"))
    [built] = where.glob("codewell_client-*.whl")
    return built


def test_it_works_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv")
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    packages = packages_of(tmp_path / "venv")
    [info] = packages.glob("codewell_client-*.dist-info")
    names = with_all_below(needed(PathDistribution(info), ""))
    for name in sorted(names):
        link(distribution(name), packages)
    env = environment()
    env.pop("PYTHONPATH", None)

    said = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(str(packages))
    assert len(names) < 15, names


def test_it_has_its_licence_and_its_types(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "codewell_client/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    code = {str(path.relative_to(ROOT / "client")) for path in (ROOT / "client" / "codewell_client").glob("*.py")}
    assert code <= names
