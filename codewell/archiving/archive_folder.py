"""The folder of archived answers: compressed CSV files, each on the disk before its rows are deleted."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from codewell.errors import StackUnavailable
from codewell.infra.uuid7 import uuid7

# Fast: a file is written while its rows are locked.
_LEVEL: Final = 1


class FolderUnavailable(StackUnavailable):
    """The folder could not be written."""


class ArchiveFolder:
    """Files in a folder for each day of their writing (UTC). No file is ever written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def store(self, name: str, lines: bytes) -> Path:
        """Write a file and wait until the disk has it. Returns its path; raises FolderUnavailable.

        `name` says what is in it. Its own id is added, as the rows come again if they could not be deleted.
        """
        try:
            return self._store(name, lines)
        except OSError as error:
            raise FolderUnavailable(
                f"Cannot write to {self._path} ({error.strerror}): make it writable, or set CODEWELL_ARCHIVE_DIR to "
                "another folder."
            ) from error

    def _store(self, name: str, lines: bytes) -> Path:
        day = self._path / f"{datetime.now(UTC):%Y-%m-%d}"
        day.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = day / f"{name}-{uuid7().hex}.csv.gz"
        partial = path.with_suffix(".part")
        with partial.open("xb") as file:
            file.write(gzip.compress(lines, _LEVEL))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        for folder in (day, self._path):
            _sync_folder(folder)
        return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
