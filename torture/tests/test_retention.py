"""Old answers leave while workers are killed and requests come again: none gets a second code, and none is lost."""

import sys
from pathlib import Path

import pytest

from torture.guards import RETENTION_GUARDS, Guard, without
from torture.retention import run_retention

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_no_request_gets_a_second_code_while_answers_leave(tmp_path: Path) -> None:
    outcome = await run_retention(3_000, 17, tmp_path, lambda line: sys.stdout.write(f"{line}\n"))

    assert outcome.violations == [], outcome
    assert outcome.requests == 3_000
    assert min(outcome.left, outcome.too_old, outcome.files, outcome.copies, outcome.kills) > 0


@pytest.mark.parametrize("guard", RETENTION_GUARDS, ids=lambda guard: guard.name)
def test_every_guard_of_retention_can_be_taken_out(guard: Guard, tmp_path: Path) -> None:
    # Raises when the source has changed, and the run without the guard would test nothing.
    copy = without(guard.edits, tmp_path)
    assert (copy / "codewell").is_dir()
