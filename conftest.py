"""The groups of the tests, and the folder of the servers that a run starts; the fixtures are in `tests/support`."""

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from structlog.dev import ConsoleRenderer, plain_traceback

from tests.support import servers

_HERE = Path(__file__).parent
pytest_plugins = ("tests.support.fixtures",)
# No test depends on the machine's speed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# What `make test-slow` runs: real processes, kills, faults, servers of a test's own.
SLOW = (
    "benchmarks/tests/e2e",
    "benchmarks/tests/integration",
    "tests/browser",
    "tests/deploy",
    "tests/e2e",
    "tests/integration/console/generated_clients",
    "tests/integration/codes/test_bulk_kills.py",
    "tests/integration/codewell_client/test_broker_restarts.py",
    "tests/integration/console/test_document.py",
    "tests/integration/generator/test_alert_kills.py",
    "tests/integration/generator/test_remote_kills.py",
    "tests/integration/generator/test_webhook_kills.py",
    "tests/integration/healing",
    "tests/integration/issuer/test_failover.py",
    "tests/integration/lifecycle/test_failover.py",
    "tests/integration/lifecycle/test_kills.py",
    "tests/integration/model",
    "tests/integration/security",
    "tests/integration/standalone",
    "torture/tests",
)
# The slow files that take the longest, longest first: begun early, they leave no process idle at the end of a run.
LONGEST = (
    "torture/tests/test_faults.py",
    "benchmarks/tests/e2e/test_bench.py",
    "tests/e2e/test_standalone.py",
    "tests/browser/test_all_pages.py",
    "tests/integration/console/test_document.py",
    "tests/e2e/test_backup_and_restore.py",
    "tests/e2e/test_examples.py",
    "tests/e2e/test_secure_connections.py",
    "tests/integration/issuer/test_failover.py",
    "tests/integration/model",
)
# The one of them that `make test` runs: a whole stack and the main job.
SMOKE = ("tests/e2e/test_demo.py",)
# What measures time, which another test beside it would change; each of them is in SLOW too.
ALONE = ("tests/e2e/test_pace.py",)
_LAST = len(LONGEST) + 1
# Where Go's own archive is unpacked, which is on the path of login shells alone.
_GO = Path("/usr/local/go/bin")


def pytest_configure(config: pytest.Config) -> None:
    """The process that begins the run makes the folder of its servers; pytest-xdist's workers are told of it."""
    if shutil.which("go") is None and _GO.is_dir():
        os.environ["PATH"] += os.pathsep + str(_GO)
    # Else each exception that is logged is drawn with all its local variables, which takes seconds.
    ConsoleRenderer.get_active().exception_formatter = plain_traceback
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
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
        if _is_below(item.path, ALONE):
            item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: _rank(item.path))


@cache
def _rank(path: Path) -> int:
    """The slow files before the others: these are short, and end at about the same time in all processes."""
    return next((rank for rank, place in enumerate(LONGEST) if _is_below(path, (place,))), _LAST - _is_slow(path))


@cache
def _is_slow(path: Path) -> bool:
    return _is_below(path, SLOW) and not _is_below(path, SMOKE)


@cache
def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(_HERE / place) for place in places)
