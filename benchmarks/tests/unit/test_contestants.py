"""SIGSTOP and SIGCONT, tested with real processes."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.contestants import check_alive, held
from codewell.errors import CodewellError
from services.standalone.child import Child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")

TIMEOUT_S = 10


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Child]:
    started = await Child.start("sleeper", ["/bin/sleep", "600"], log_path=tmp_path / "sleeper.log")
    yield started
    await started.stop()


def state(child: Child) -> str:
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def stopped(child: Child, *, is_stopped: bool) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (state(child) == "T") is not is_stopped:
            await asyncio.sleep(0.01)


async def test_they_stand_still_until_they_are_let_go(child: Child) -> None:
    with held([child]) as go:
        await stopped(child, is_stopped=True)
        go()
        await stopped(child, is_stopped=False)


async def fail_while_held(child: Child) -> None:
    with held([child]):
        await stopped(child, is_stopped=True)
        raise RuntimeError


async def test_they_go_on_when_the_block_fails(child: Child) -> None:
    with pytest.raises(RuntimeError):
        await fail_while_held(child)

    await stopped(child, is_stopped=False)


async def test_one_that_was_killed_while_it_stood_still_is_named(child: Child) -> None:
    with held([child]):
        await stopped(child, is_stopped=True)
        check_alive([child])
        await child.stop(timeout_s=0.1)

    with pytest.raises(CodewellError, match="sleeper has ended with status -9"):
        check_alive([child])
