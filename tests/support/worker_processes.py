"""Issuers and generators as real processes; one that ends is restarted at once, as a supervisor does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from services.standalone.child import Child
from tests.support.commands import environment

# Time limit for a worker's stop (s); product.md and the deployment rely on it.
STOP_TIMEOUT_S = 20.0


class Death(NamedTuple):
    """A worker that ended, and its exit status: a negative one is the signal that ended it."""

    name: str
    status: int


class Workers:
    """The processes of one deployment by name, such as `issuer-1`. Their logs are in `directory`."""

    def __init__(
        self, directory: Path, env: Mapping[str, str], of_service: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self.deaths: list[Death] = []
        self.directory = directory
        self.at_next_start: dict[str, dict[str, str]] = {}
        """Additional variables for the next process of this name only."""
        self.away_s: dict[str, float] = {}
        """How long this name has no process after its next death (s)."""
        self.env = environment(**env)
        """What all of them have."""
        self._of_service = of_service or {}
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, *names: str) -> None:
        """Start them and keep them running."""
        for name in names:
            self._children[name] = await self._start(name)
            self._keepers.append(asyncio.create_task(self._keep(name)))

    def kill(self, name: str) -> None:
        """Kill it at once, at any point of its work."""
        self.send(name, signal.SIGKILL)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the current process of this name. One that has just ended gets nothing."""
        child = self._children[name]
        if child.returncode is None:
            os.kill(child.pid, number)

    def pid(self, name: str) -> int:
        """The current or last process of this name."""
        return self._children[name].pid

    async def terminate(self, name: str) -> int:
        """Stop it gracefully, and return its exit status; a new process has its name afterwards."""
        child = self._children[name]
        self.send(name, signal.SIGTERM)
        return await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)

    async def close(self) -> None:
        """Kill them all."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(child.stop(signal.SIGKILL) for child in self._children.values()))

    def logs(self) -> str:
        """All their logs."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log")))

    async def _keep(self, name: str) -> None:
        while True:
            self.deaths.append(Death(name, await self._children[name].wait()))
            await asyncio.sleep(self.away_s.pop(name, 0))
            self._children[name] = await self._start(name)

    async def _start(self, name: str) -> Child:
        service = name.partition("-")[0]
        return await Child.start(
            name,
            [sys.executable, "-m", "services", service],
            log_path=self.directory / f"{name}.log",
            env={**self.env, **self._of_service.get(service, {}), **self.at_next_start.pop(name, {})},
            # Files that a worker leaves in its working directory must not end up in the repository.
            cwd=self.directory,
        )


@asynccontextmanager
async def running_workers(directory: Path, env: Mapping[str, str], *names: str) -> AsyncIterator[Workers]:
    """Run workers during the block."""
    workers = Workers(directory, env)
    try:
        await workers.start(*names)
        yield workers
    finally:
        await workers.close()
