"""Sends fail while workers are killed: each of their codes is returned, voided or kept, exactly once."""

import sys
from pathlib import Path

import pytest

from torture.guards import RECEIPT_GUARDS, Guard, without
from torture.receipts import run_receipts

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_failed_sends_add_up_whatever_is_killed(tmp_path: Path) -> None:
    outcome = await run_receipts(20_000, 0.03, 17, tmp_path, lambda line: sys.stdout.write(f"{line}\n"))

    assert outcome.violations == [], outcome
    assert outcome.failed > 400
    assert sum(outcome.stands.values()) == outcome.failed
    assert set(outcome.stands) == {"returned", "voided", "kept"}
    assert outcome.kills > 0
    assert outcome.copies > 0
    assert outcome.used > 0


@pytest.mark.parametrize("guard", RECEIPT_GUARDS, ids=lambda guard: guard.name)
def test_every_guard_of_receipts_can_be_taken_out(guard: Guard, tmp_path: Path) -> None:
    # Raises when the source has changed, and the run without the guard would test nothing.
    copy = without(guard.edits, tmp_path)
    assert (copy / "codewell").is_dir()
