import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from services.standalone.child import Child, RunAs
from tests.support.processes import is_alive, until

SLEEP = ["/bin/sleep", "60"]
# Ignores the signal and has a child of its own, whose pid it says.
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; while :; do wait; done"]
# Starts a child and then is in the way of whoever wants it gone in order.
OWNER = """
import asyncio, sys
from pathlib import Path
from services.standalone.child import Child

async def main():
    child = await Child.start("sleep", ["/bin/sleep", "60"], log_path=Path(sys.argv[1]) / "sleep.log")
    Path(sys.argv[1], "partial").write_text(str(child.pid))
    Path(sys.argv[1], "partial").rename(Path(sys.argv[1], "pid"))
    await child.wait()

asyncio.run(main())
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


async def test_stops_at_the_signal_and_twice_without_harm(log_path: Path) -> None:
    child = await Child.start("sleep", SLEEP, log_path=log_path)
    assert child.returncode is None

    assert await child.stop(signal.SIGTERM, timeout_s=10) == -signal.SIGTERM
    assert await child.stop(signal.SIGTERM, timeout_s=10) == -signal.SIGTERM
    assert await child.wait() == -signal.SIGTERM


@linux_only
async def test_kills_the_whole_group_at_the_limit(log_path: Path) -> None:
    child = await Child.start("stubborn", STUBBORN, log_path=log_path)
    await until(lambda: bool(child.log_tail()), "grandchild")
    grandchild = int(child.log_tail()[0])

    assert await child.stop(signal.SIGTERM, timeout_s=0.1) == -signal.SIGKILL
    await until(lambda: not is_alive(grandchild), "end of the grandchild")


async def test_a_cancelled_stop_kills(log_path: Path) -> None:
    child = await Child.start("stubborn", STUBBORN, log_path=log_path)
    await until(lambda: bool(child.log_tail()), "trap")
    stopping = asyncio.create_task(child.stop(signal.SIGTERM, timeout_s=60))
    await asyncio.sleep(0)

    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert await child.wait() == -signal.SIGKILL


async def test_is_out_of_reach_of_the_terminal(log_path: Path) -> None:
    child = await Child.start("sleep", SLEEP, log_path=log_path)
    try:
        assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    finally:
        await child.stop(signal.SIGKILL)


async def test_says_its_last_words_of_this_run_only(log_path: Path) -> None:
    first = await Child.start("first", ["/bin/echo", "one"], log_path=log_path)
    await first.wait()
    second = await Child.start("second", ["/bin/sh", "-c", "echo two; echo three >&2; exit 3"], log_path=log_path)

    assert await second.wait() == 3
    assert second.log_tail() == ["two", "three"]
    assert second.last_words() == "three"
    assert first.log_tail() == ["one", "two", "three"]


async def test_a_log_that_was_deleted_has_no_last_words(log_path: Path) -> None:
    child = await Child.start("words", ["/bin/echo", "word"], log_path=log_path)
    await child.wait()
    log_path.unlink()
    assert child.last_words() == "it said nothing"


async def test_a_program_that_is_not_there_is_in_the_log(log_path: Path) -> None:
    child = await Child.start("none", ["/no/such/program"], log_path=log_path)

    assert await child.wait() == 127
    assert child.last_words() == "/no/such/program: No such file or directory"


async def test_gets_its_variables_as_one_line(log_path: Path) -> None:
    child = await Child.start("cat", ["/bin/cat"], log_path=log_path, has_input=True)

    await child.send({"NAME": "an Ünusual one"})

    assert await child.wait() == 0
    assert [json.loads(line) for line in child.log_tail()] == [{"NAME": "an Ünusual one"}]


async def test_one_that_has_ended_is_not_told(log_path: Path) -> None:
    child = await Child.start("true", ["/bin/true"], log_path=log_path, has_input=True)
    await child.wait()

    await child.send({"NAME": "x"})

    assert child.last_words() == "it said nothing"


async def test_a_worker_that_is_not_told_its_settings_ends(log_path: Path) -> None:
    words = [sys.executable, "-m", "services.standalone.worker", "issuer"]
    child = await Child.start("issuer", words, log_path=log_path)

    assert await child.wait() == 0
    assert child.log_tail() == []


@linux_only
async def test_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, str(tmp_path))
    await until((tmp_path / "pid").exists, "child")
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)

    owner.kill()
    await owner.wait()
    await until(lambda: not is_alive(pid), "end of the child")


@linux_only
@root_only
@pytest.mark.parametrize("capability", [None, 2])
async def test_becomes_another_user_and_keeps_one_capability_at_most(log_path: Path, capability: int | None) -> None:
    words = ["/bin/grep", "-E", "^(Uid|Gid|Groups|CapEff|CapPrm)", "/proc/self/status"]
    child = await Child.start("grep", words, log_path=log_path, run_as=RunAs(65534, 65534, capability))
    await child.wait()

    said = dict(line.split(":", 1) for line in child.log_tail())
    assert said["Uid"].split() == said["Gid"].split() == ["65534"] * 4
    assert said["Groups"].split() == []
    assert int(said["CapEff"], 16) == int(said["CapPrm"], 16) == (0 if capability is None else 1 << capability)
