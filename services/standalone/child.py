"""A child process that is logged, stopped with its process group, and never outlives its parent."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from codewell.errors import StackUnavailable

LOG_BYTES_MAX = 16 * 1024 * 1024
TAIL_BYTES_MAX = 16 * 1024
TAIL_LINES_MAX = 200
KILL_TIMEOUT_S = 10.0

_EXEC_CHILD = Path(__file__).with_name("exec_child.py")
_UNSET = -1

log = structlog.get_logger()


@dataclass(frozen=True)
class RunAs:
    """The user that a child of root switches to, and the one capability that it keeps, if any."""

    uid: int
    gid: int
    capability: int | None = None


class Child:
    """A running process in its own session, so that Ctrl-C in the terminal does not reach it.

    On Linux the kernel sends it `death_signal` when the thread that started it ends, so start children from the main
    thread.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_path: Path, log_offset: int) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process
        self._log_offset = log_offset

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str | Path],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        run_as: RunAs | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        has_input: bool = False,
    ) -> Self:
        """Start `argv` (an absolute path and its arguments) and append its output to `log_path`.

        One with `has_input` reads what `send` writes; others have an empty input. Raises StackUnavailable.
        """
        _rotate(log_path)
        log_file = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            log_offset = os.fstat(log_file).st_size
            process = await asyncio.create_subprocess_exec(
                *_launcher(run_as, death_signal),
                *(str(word) for word in argv),
                stdin=asyncio.subprocess.PIPE if has_input else asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise StackUnavailable(
                f"Cannot start {name} ({error}): free some memory or processes, and start again."
            ) from error
        finally:
            os.close(log_file)
        log.debug("child started", child=name, pid=process.pid)
        return cls(name, process, log_path, log_offset)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None as long as it runs, negative when a signal ended it."""
        return self._process.returncode

    async def send(self, variables: Mapping[str, str]) -> None:
        """Write them as one line of JSON to its input, and close that. One that has ended gets nothing."""
        standard_input = self._process.stdin
        if standard_input is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                standard_input.write(f"{json.dumps(dict(variables))}\n".encode())
                await standard_input.drain()
            standard_input.close()

    async def wait(self) -> int:
        """Wait until the process has ended."""
        return await self._process.wait()

    async def is_ready(self, ready: Coroutine[None, None, None], timeout_s: float) -> bool:
        """True when `ready` returns, False when the child ends first. Raises TimeoutError after `timeout_s` (s)."""
        becoming = asyncio.create_task(ready)
        ending = asyncio.create_task(self._process.wait())
        try:
            done, _ = await asyncio.wait((becoming, ending), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (becoming, ending):
                task.cancel()
            await asyncio.gather(becoming, ending, return_exceptions=True)
        if not done:
            raise TimeoutError
        if ending in done:
            return False
        becoming.result()
        return True

    async def stop(self, stop_signal: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send `stop_signal`; kill the process group after `timeout_s` (s), or when this is cancelled."""
        if self._process.returncode is not None:
            return self._process.returncode
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(stop_signal)
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            log.warning("child killed, as it didn't stop in time", child=self.name, pid=self.pid, timeout_s=timeout_s)
        finally:
            # Also after a clean exit, for processes left in its group. The kernel can't have reused the group id yet.
            self._kill_group()
        async with asyncio.timeout(KILL_TIMEOUT_S):
            returncode = await self._process.wait()
        log.debug("child stopped", child=self.name, pid=self.pid, returncode=returncode)
        return returncode

    def log_tail(self, lines_max: int = TAIL_LINES_MAX) -> list[str]:
        """The last lines of this run's log; none if its file was deleted."""
        try:
            with self.log_path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_offset, size - TAIL_BYTES_MAX))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()][-lines_max:]

    def last_words(self) -> str:
        """The last log line that is not indented as a stack trace is, for an error message."""
        lines = [line for line in self.log_tail() if not line[0].isspace()]
        return lines[-1] if lines else "it said nothing"

    def _kill_group(self) -> None:
        # macOS raises PermissionError for a group with only zombie members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _launcher(run_as: RunAs | None, death_signal: signal.Signals) -> list[str]:
    uid = gid = capability = _UNSET
    if run_as is not None:
        uid, gid = run_as.uid, run_as.gid
        capability = _UNSET if run_as.capability is None else run_as.capability
    numbers = (os.getpid(), int(death_signal), uid, gid, capability)
    return [sys.executable, "-I", "-S", str(_EXEC_CHILD), *(str(number) for number in numbers)]


def _rotate(log_path: Path) -> None:
    """Rotate a large log. One old log is kept, which bounds the disk space."""
    with contextlib.suppress(FileNotFoundError):
        if log_path.stat().st_size > LOG_BYTES_MAX:
            log_path.replace(log_path.with_suffix(".old.log"))
