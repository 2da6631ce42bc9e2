"""Runs `codewell` as a person does: a process, its exit status, and its output."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support import in_process
from tests.support.command_result import Said
from tests.support.processes import until

__all__ = ["Said"]

CODEWELL = (sys.executable, "-m", "services")
TIMEOUT_S = 60.0
START_TIMEOUT_S = 90.0


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without Codewell's settings, plus these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEWELL_")}
    return kept | variables


async def codewell(*words: str, env: Mapping[str, str], cwd: Path, stdin: str | None = None) -> Said:
    """Run one command to its end."""
    return await run_to_end(*CODEWELL, *words, env=env, cwd=cwd, stdin=stdin)


async def run_to_end(
    *words: str, env: Mapping[str, str], cwd: Path, stdin: str | None = None, timeout_s: float = TIMEOUT_S
) -> Said:
    """Run a program to its end; it is killed after the timeout (s), which raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(None if stdin is None else stdin.encode()), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


class Caller:
    """Runs commands with these settings and no others, in a folder."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.variables = variables

    async def run(self, *words: str, stdin: str | None = None, **variables: str) -> Said:
        """Run a command in this process."""
        env = environment(**self.variables | variables)
        return await in_process.codewell(*words, env=env, cwd=self.folder, stdin=stdin)

    async def spawn(self, *words: str, stdin: str | None = None, **variables: str) -> Said:
        """Run a command in a process of its own, as a person does."""
        return await codewell(*words, env=environment(**self.variables | variables), cwd=self.folder, stdin=stdin)


class Stack(Caller):
    """A running `codewell standalone`, and the home in which commands find it; they run in the home's parent."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path, log: Path) -> None:
        super().__init__(home.parent, CODEWELL_HOME=str(home))
        self.process = process
        self.home = home
        self._log = log

    @property
    def endpoints(self) -> dict[str, Any]:
        """Its output when it became ready."""
        found: dict[str, Any] = json.loads((self.home / "endpoints.json").read_text())
        return found

    async def ended(self, number: signal.Signals, timeout_s: float) -> int:
        """Send it a signal and return its exit status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    @property
    def said(self) -> str:
        """Its output so far."""
        return self._log.read_text()

    async def is_ready(self) -> None:
        """Wait until it reports that it is ready; the file alone may be left from a killed stack."""
        await until(
            lambda: "is ready after" in self.said or self.process.returncode is not None, "stack", START_TIMEOUT_S
        )
        assert self.process.returncode is None, self.said


@asynccontextmanager
async def starting_stack(home: Path, *words: str, **variables: str) -> AsyncIterator[Stack]:
    """A `codewell standalone` that has just been started; it ends with the block."""
    log = home.with_suffix(".log")
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *CODEWELL,
            "standalone",
            "--home",
            str(home),
            *words,
            env=environment(**variables),
            cwd=home.parent,
            stdout=said,
            stderr=said,
        )
    try:
        yield Stack(process, home, log)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), TIMEOUT_S)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def running_stack(home: Path, *words: str, **variables: str) -> AsyncIterator[Stack]:
    """A stack that is ready during the block."""
    async with starting_stack(home, *words, **variables) as stack:
        await stack.is_ready()
        yield stack
