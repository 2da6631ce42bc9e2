"""Orders hold, use and give back codes while issuers are killed: each code is used as often as it may."""

import sys
from pathlib import Path

import pytest

from torture.guards import ORDER_GUARDS, Guard, without
from torture.orders import run_orders

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a worker that is left behind ends with the test on Linux only"
)


@pytest.mark.nightly
@pytest.mark.timeout(400)
async def test_orders_end_as_the_shop_said_whatever_is_killed(tmp_path: Path) -> None:
    outcome = await run_orders(2_000, 60, 17, tmp_path, lambda line: sys.stdout.write(f"{line}\n"))

    assert outcome.violations == [], outcome
    assert outcome.orders > 500
    assert min(outcome.used, outcome.refused, outcome.kills) > 0


@pytest.mark.parametrize("guard", ORDER_GUARDS, ids=lambda guard: guard.name)
def test_every_guard_of_orders_can_be_taken_out(guard: Guard, tmp_path: Path) -> None:
    # Raises when the source has changed, and the run without the guard would test nothing.
    copy = without(guard.edits, tmp_path)
    assert (copy / "codewell").is_dir()
