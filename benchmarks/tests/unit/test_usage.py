"""CPU time and memory in /proc of real processes with known use."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.usage import child_commands, cpu_seconds, machine_cpu_seconds, peak_memory_mb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")

BUSY_S = 0.3
BURN = f"import time\nwhile time.process_time() < {BUSY_S}: pass\n"
# Prints when it is done, and stays until its input ends.
STAY = "print('done', flush=True)\ninput()\n"


@contextmanager
def running(program: Path | str, code: str) -> Iterator[int]:
    with subprocess.Popen(
        [program, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        try:
            yield process.pid
        finally:
            process.communicate("\n")


def test_a_process_counts_with_the_children_that_have_ended() -> None:
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {BURN!r}])\n"

    with running(sys.executable, BURN + child + STAY) as pid:
        assert cpu_seconds([pid]) >= 2 * BUSY_S - 0.05


def test_a_process_counts_with_those_below_it_that_run() -> None:
    inner = BURN + STAY
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {inner!r}], stdin=subprocess.PIPE, "
        "stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n" + STAY + "child.communicate('')\n"
    )

    with running(sys.executable, code) as pid:
        assert cpu_seconds([pid]) >= BUSY_S - 0.05


def test_a_name_with_spaces_and_parentheses_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to(sys.executable)

    with running(odd, BURN + STAY) as pid:
        assert "a) S 1 (b" in Path(f"/proc/{pid}/stat").read_text()
        assert BUSY_S - 0.05 <= cpu_seconds([pid]) < 60


def test_a_process_that_has_ended_has_used_nothing() -> None:
    with running(sys.executable, STAY) as pid:
        pass

    assert cpu_seconds([pid]) == 0


def test_the_machine_has_used_at_least_what_we_have() -> None:
    before = machine_cpu_seconds()
    with running(sys.executable, BURN + STAY):
        pass

    assert machine_cpu_seconds() - before >= BUSY_S - 0.05


def test_the_peak_of_memory_stays_when_the_memory_is_given_back() -> None:
    with running(sys.executable, "x = bytes(1) * 100_000_000\ndel x\n" + STAY) as pid:
        assert 100 < peak_memory_mb(pid) < 200


def test_memory_of_a_process_that_has_ended_is_an_error() -> None:
    with running(sys.executable, STAY) as pid:
        pass

    with pytest.raises(OSError, match=str(pid)):
        peak_memory_mb(pid)


def test_our_own_use_is_read() -> None:
    assert peak_memory_mb(os.getpid()) > 1


def test_children_are_told_by_the_words_that_they_were_started_with() -> None:
    with running(sys.executable, STAY) as pid:
        found = child_commands(os.getpid())

    assert found[pid] == [sys.executable, "-S", "-c", STAY]
    assert os.getpid() not in found
