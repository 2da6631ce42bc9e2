"""The home directory of one stack: its lock, its files, and the endpoints of the running stack."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from codewell.errors import StackUnavailable
from services.standalone.ports import PortBook

DISK_FREE_BYTES_MIN = 1024**3
LOCK_TIMEOUT_S = 0.5
LOCK_POLL_S = 0.02
_PASSWORD_BYTES = 32


class Endpoints(BaseModel):
    """URLs and admin token of a running stack."""

    model_config = ConfigDict(frozen=True)

    postgres_url: str
    kafka_bootstrap: str
    api_url: str
    admin_token: str | None = None
    health_urls: dict[str, str] | None = None
    """The URL of each worker's health endpoints, by the worker's name."""


class Home:
    """An open home: locked until it is closed, or until the process that opened it ends."""

    def __init__(self, path: Path, lock_file: int) -> None:
        self.path = path
        self.logs = path / "logs"
        self.ports = PortBook(path / "ports.json")
        self._endpoints = path / "endpoints.json"
        self._passwords = path / "database-passwords.json"
        self._admin_token = path / "admin-token.json"
        self._lock_file: int | None = lock_file

    @classmethod
    async def open(cls, path: Path, disk_free_bytes_min: int = DISK_FREE_BYTES_MIN) -> Self:
        """Create the home if needed, lock it, and remove the endpoints file of a dead stack.

        Raises StackUnavailable where it can't be used, another stack has it, or its disk is full.
        """
        try:
            path = _create(path)
            check_disk(path, disk_free_bytes_min)
            lock_file = await _lock(path)
        except OSError as error:
            raise StackUnavailable(
                f"Cannot use {path} as home ({error.strerror}): make it writable, or set CODEWELL_HOME to another "
                "directory."
            ) from error
        home = cls(path, lock_file)
        home.remove_endpoints()
        return home

    def close(self) -> None:
        """Release the lock. Idempotent."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Publish the endpoints of the ready stack. The file appears complete, by a rename."""
        _write_secretly(self._endpoints, endpoints.model_dump_json(indent=2, exclude_none=True))

    def database_passwords(self, users: Sequence[str]) -> dict[str, str]:
        """The password of each of these users of the stack's Postgres, generated at the first start and kept."""
        try:
            known = json.loads(self._passwords.read_text())
        except (FileNotFoundError, ValueError):
            known = {}
        passwords = {user: known.get(user) or secrets.token_urlsafe(_PASSWORD_BYTES) for user in users}
        if passwords != known:
            _write_secretly(self._passwords, json.dumps(passwords, indent=2))
        return passwords

    def admin_token(self) -> str | None:
        """The secret of the administrator's token that the last start stored; None if there is none."""
        try:
            known = json.loads(self._admin_token.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return known if isinstance(known, str) else None

    def keep_admin_token(self, secret: str) -> None:
        """Store the secret of the administrator's token for the next starts."""
        _write_secretly(self._admin_token, json.dumps(secret))

    def remove_endpoints(self) -> None:
        """Say that the stack is not ready. Idempotent."""
        self._endpoints.unlink(missing_ok=True)


def _write_secretly(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically: readers never see a part of it."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(text + "\n")
    partial.replace(path)


def read_endpoints(path: Path) -> Endpoints | None:
    """The endpoints of this home's stack; None when none is ready, also when one died and left its file.

    Raises StackUnavailable where another user has it.
    """
    try:
        text = (path / "endpoints.json").read_text()
        lock_file = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise StackUnavailable(f"{error.filename} belongs to another user: run this command as that user.") from error
    try:
        # A shared lock succeeds only when no stack has the exclusive one; `_lock` tolerates one held for a moment.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    finally:
        os.close(lock_file)
    try:
        return Endpoints.model_validate_json(text)
    except ValidationError as error:
        raise StackUnavailable(f"Cannot read {path / 'endpoints.json'}: start the stack there again.") from error


def check_disk(path: Path, free_bytes_min: int = DISK_FREE_BYTES_MIN) -> None:
    """Refuse a disk that Postgres and Kafka would fill soon."""
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < free_bytes_min:
        raise StackUnavailable(
            f"The disk of {path} has {free_bytes // 1024**2} MiB free, but a stack needs "
            f"{free_bytes_min // 1024**2} MiB: free some space, or set CODEWELL_HOME to another disk."
        )


def _create(path: Path) -> Path:
    path = path.absolute()
    # Root's servers run as another user, which needs to traverse their folders but not to list this one; without root
    # they run as the current user.
    path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    (path / "logs").mkdir(mode=0o700, exist_ok=True)
    return path


async def _lock(path: Path) -> int:
    lock_file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.read(lock_file, 32).decode(errors="replace").strip() or "unknown"
                os.close(lock_file)
                raise StackUnavailable(
                    f"A stack with pid {holder} already runs in {path}: use it, stop it, "
                    "or set CODEWELL_HOME to another directory."
                ) from None
            await asyncio.sleep(LOCK_POLL_S)
        else:
            os.ftruncate(lock_file, 0)
            os.pwrite(lock_file, f"{os.getpid()}\n".encode(), 0)
            return lock_file
