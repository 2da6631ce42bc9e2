"""Run `codewell` as a person does: a process, its exit status, and what it says."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.conditions import until

CODEWELL = (sys.executable, "-m", "services")
TIMEOUT_S = 60.0
START_TIMEOUT_S = 90.0
# What a service says on standard error is its log, and what a person reads is not.
_SENTENCE = re.compile(r"Error: [^\n]+[.?]\n")


class Said(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed, as one JSON object a line."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(one, dict) for one in found), self
        return found

    def is_done(self) -> "Said":
        """Fail unless the command did what it was asked to, and complained of nothing."""
        assert self.status == 0, self
        assert not self.err, self
        return self

    def is_refused(self, *words: str) -> None:
        """Fail unless it was refused in one clear sentence that has these words."""
        assert self.status == 1, self
        assert not self.out, self
        assert _SENTENCE.fullmatch(self.err), self
        assert all(word in self.err for word in words), self

    def is_aborted(self, question: str) -> None:
        """Fail unless it asked this and did nothing, as the answer was no."""
        assert self.status == 1, self
        assert not self.out.strip(), self
        assert question in self.err, self
        assert self.err.endswith("Aborted!\n"), self

    def is_wrong_usage(self, *words: str) -> None:
        """Fail unless the words of the command were not understood."""
        assert self.status == 2, self
        assert not self.out, self
        assert self.err.startswith("Usage: codewell"), self
        assert "Traceback" not in self.err
        assert all(word in self.err for word in words), self


def environment(**variables: str) -> dict[str, str]:
    """This process's variables without any setting of Codewell's, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEWELL_")}
    return kept | variables


async def codewell(*words: str, env: Mapping[str, str], cwd: Path, stdin: str | None = None) -> Said:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        *CODEWELL,
        *words,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(None if stdin is None else stdin.encode()), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


class Stack:
    """A running `codewell standalone` and where its commands find it."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path, log: Path) -> None:
        self.process = process
        self.home = home
        self._log = log

    @property
    def endpoints(self) -> dict[str, str]:
        """What it wrote when it was ready."""
        found: dict[str, str] = json.loads((self.home / "endpoints.json").read_text())
        return found

    async def run(self, *words: str, stdin: str | None = None, **variables: str) -> Said:
        """Run a command that finds the stack by its home; its folder is the home's parent."""
        env = environment(**{"CODEWELL_HOME": str(self.home), **variables})
        return await codewell(*words, env=env, cwd=self.home.parent, stdin=stdin)

    async def ended(self, number: signal.Signals, timeout_s: float) -> int:
        """Send it a signal and return its exit status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self._log.read_text()

    async def is_ready(self) -> None:
        """Wait until it says that it is; the file alone may be one that a killed stack has left."""
        await until(
            lambda: "is ready after" in self.said or self.process.returncode is not None, "stack", START_TIMEOUT_S
        )
        assert self.process.returncode is None, self.said


@asynccontextmanager
async def starting_stack(home: Path, *words: str, **variables: str) -> AsyncIterator[Stack]:
    """A `codewell standalone` that has just been started; it does not outlive the block."""
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
    """A stack that is ready in the block."""
    async with starting_stack(home, *words, **variables) as stack:
        await stack.is_ready()
        yield stack
