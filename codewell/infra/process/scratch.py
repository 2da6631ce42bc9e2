"""Folders of a process in the temporary directory, and the removal of those that a killed process left.

A live process locks each of its folders, so that another one on the same machine does not take it for a left one.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

# Releases before the lock had other names, so none of their folders is taken for a left one.
_PREFIX: Final = "codewell-locked-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that only this user can read, removed at the end of the block."""
    while True:
        with TemporaryDirectory(prefix=_PREFIX) as name, _locked(Path(name)) as is_locked:
            # A process that looked for left folders just after this one was made has locked it, or removed it.
            if is_locked is not False:
                yield Path(name)
                return


def remove_left_folders() -> int:
    """Remove this user's folders whose processes are gone, and return how many. Raises nothing."""
    removed = 0
    with suppress(OSError):
        for folder in Path(gettempdir()).glob(f"{_PREFIX}*"):
            with _locked(folder) as is_locked:
                if is_locked:
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += not folder.exists()
    return removed


@contextmanager
def _locked(folder: Path) -> Iterator[bool | None]:
    """Lock the folder during the block, and yield whether that went well; None where its file system has no locks.

    It does not if another process has locked it, or if it is gone, another user's or no folder.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        lock = None
    if lock is None:
        yield False
        return
    try:
        yield _lock(lock, folder)
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> bool | None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = folder.stat(follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return None
    # Before it was locked, it may have been removed.
    return os.path.samestat(found, os.fstat(lock)) and found.st_uid == os.geteuid()
