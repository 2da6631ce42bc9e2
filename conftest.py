"""The groups of the tests, and the folder of the servers that a run starts; the fixtures are in `tests/support`."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers

pytest_plugins = ("tests.support.fixtures",)

# What `make test-slow` runs: real processes, kills, faults, servers of a test's own.
SLOW = (
    "benchmarks/tests/e2e",
    "benchmarks/tests/integration",
    "tests/deploy",
    "tests/e2e",
    "tests/integration/console/test_document.py",
    "tests/integration/generator/test_remote_kills.py",
    "tests/integration/healing",
    "tests/integration/issuer/test_failover.py",
    "tests/integration/model",
    "tests/integration/security",
    "tests/integration/standalone",
    "torture/tests",
)
# The one of them that `make test` runs: a whole stack and the main job.
SMOKE = ("tests/e2e/test_demo.py",)
# What measures time, which another test beside it would change; each of them is in SLOW too.
ALONE = ("tests/e2e/test_pace.py",)


def pytest_configure(config: pytest.Config) -> None:
    """The process that begins the run makes the folder of its servers; pytest-xdist's workers are told of it."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    config.stash[servers.DIRECTORY] = given["servers"] if given else str(servers.new_directory())
    config.stash[servers.RUN] = given["run"] if given else os.getpid()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = node.config.stash[servers.DIRECTORY]
    node.workerinput["run"] = os.getpid()


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash[servers.RUN] == os.getpid():
        servers.stop(Path(config.stash[servers.DIRECTORY]))
        shutil.rmtree(config.stash[servers.DIRECTORY])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(here)
        if _is_below(path, SLOW) and not _is_below(path, SMOKE):
            item.add_marker(pytest.mark.slow)
        if _is_below(path, ALONE):
            item.add_marker(pytest.mark.alone)


def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)
