"""The folder of archived answers: compressed CSV files, each on the disk before its rows are deleted."""

import os
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from codewell.errors import StackUnavailable
from codewell.infra.uuid7 import uuid7

# Fast: lines are compressed while their rows are locked.
_LEVEL: Final = 1
# The largest window, and the header of gzip.
_GZIP: Final = 31


class FolderUnavailable(StackUnavailable):
    """The folder could not be written."""


class CompressedLines:
    """Lines in the format of gzip. They are compressed as they come, while Postgres deletes the next rows."""

    def __init__(self, lines: bytes) -> None:
        self._compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
        self._parts = [self._compressor.compress(lines)]

    async def add(self, lines: bytes) -> None:
        """Add more, as asyncpg's COPY hands them over."""
        self._parts.append(self._compressor.compress(lines))

    def end(self) -> bytes:
        """All of them, as a whole file. Nothing can be added any more."""
        return b"".join((*self._parts, self._compressor.flush()))


class ArchiveFolder:
    """Files in a folder for each day of their writing (UTC). No file is ever written again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def store(self, name: str, lines: bytes) -> Path:
        """Write a file of compressed lines and wait until the disk has it. Returns its path; raises FolderUnavailable.

        `name` says what is in it. Its own id is added, as the rows come again if they could not be deleted.
        """
        try:
            return self._store(name, lines)
        except OSError as error:
            raise FolderUnavailable(
                f"Cannot write to {self._path} ({error.strerror}): make it writable, with enough free space, or set "
                "CODEWELL_ARCHIVE_DIR to another folder."
            ) from error

    def _store(self, name: str, lines: bytes) -> Path:
        day = self._path / f"{datetime.now(UTC):%Y-%m-%d}"
        # A new folder is lost with the machine until the one that it is in is on the disk.
        new_in = {folder.parent for folder in (day, *day.parents) if not folder.exists()}
        day.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = day / f"{name}-{uuid7().hex}.csv.gz"
        partial = path.with_suffix(".part")
        try:
            with partial.open("xb") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            for folder in {day, self._path} | new_in:
                _sync_folder(folder)
        except OSError:
            # The rows stay and the next look writes another one, also on a disk that is full.
            for unneeded in (partial, path):
                unneeded.unlink(missing_ok=True)
            raise
        return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
