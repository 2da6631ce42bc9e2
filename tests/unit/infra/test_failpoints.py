"""A failpoint does what its setting says, at the time that it says, and nothing where none is set."""

import signal
import subprocess
import sys

import pytest

from codewell.errors import SettingsInvalid
from codewell.infra.process import failpoints

_PASSES = """
import sys
from codewell.infra.process.failpoints import Failpoint, arm, reach
arm(sys.argv[1])
for number in range(4):
    print(number, flush=True)
    reach(Failpoint.CLAIMED)
"""


@pytest.mark.parametrize(("armed", "passed"), [("claimed=kill", 1), ("committed=kill, claimed=kill@3", 3)])
def test_a_process_dies_where_it_is_told_to(armed: str, passed: int) -> None:
    run = subprocess.run([sys.executable, "-c", _PASSES, armed], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    # What comes after the numbers is the log's.
    assert [line for line in run.stdout.split("\n") if line.isdigit()] == [str(number) for number in range(passed)]


@pytest.mark.parametrize("armed", ["", "committed=kill", "claimed=kill@5"])
def test_a_process_lives_where_it_is_not(armed: str) -> None:
    run = subprocess.run([sys.executable, "-c", _PASSES, armed], capture_output=True, text=True, check=False)
    assert run.returncode == 0


@pytest.mark.parametrize("text", ["claim=kill", "claimed", "claimed=die", "claimed=kill@0", "claimed=kill@x"])
def test_what_is_misspelt_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="claimed=kill@3"):
        failpoints.arm(text)
