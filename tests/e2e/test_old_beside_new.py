"""Workers of the release before run beside those of a next one, on its schema; all promises are checked meanwhile.

They start on the schema of this commit, which they may not know, are replaced one at a time by workers of this commit
with two migrations more, and come back.
"""

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest

from torture.kinds import KINDS
from torture.run import run
from torture.schedule import Plan

# The commit from which on workers know `min_worker`, until there is a release.
RELEASE: Final = "b18e5c67"
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The packages of the release before, to be put before those of this one."""
    try:
        is_shallow = _git("rev-parse", "--is-shallow-repository").strip() != b"false"
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this copy has no git history, so no release before: {error}")
    if is_shallow:
        pytest.skip("this copy's git history is shallow, and may not have the release before")
    archive = _git("archive", RELEASE, "codewell", "services", "schemas")
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


# Fourteen restarts, one at a time in each service: most of the time is that of their starts.
@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only")
async def test_the_release_before_runs_beside_the_next_one_and_comes_back(tmp_path: Path, old: Path) -> None:
    plan = Plan(17, requests=1_000, rate_per_s=100, what="once")
    kinds = [kind for kind in KINDS if kind.name == "rolling upgrade"]

    variables = {"PYTHONPATH": str(old)}
    outcome = await run(plan, tmp_path, kinds, lambda line: sys.stdout.write(f"{line}\n"), variables)

    sys.stdout.write(f"longest time without an answer: {outcome.upgrade_pauses_s} s\n")
    assert outcome.violations == [], outcome
    assert outcome.mishaps == []
    assert outcome.own_ends == {}
    assert outcome.published >= plan.requests
    assert len(outcome.upgrade_pauses_s) == 1
