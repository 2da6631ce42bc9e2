"""Files of archived answers: on the disk before their rows are deleted, and none left half-written."""

import errno
import os
import stat
from pathlib import Path

import pytest

from codewell.archiving.archive_folder import ArchiveFolder, FolderUnavailable


def test_a_disk_that_is_full_keeps_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        for _ in range(3):
            with pytest.raises(FolderUnavailable, match=r"No space left on device.*free space"):
                ArchiveFolder(tmp_path).store("block-1-0-9", b"lines")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    path = ArchiveFolder(tmp_path).store("block-1-0-9", b"lines")
    assert path.read_bytes() == b"lines"


def test_a_file_whose_folder_cannot_be_synced_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on file systems that sync no folders: its rows stay, and each look would add one more file."""
    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with pytest.raises(FolderUnavailable, match="Invalid argument"):
        ArchiveFolder(tmp_path).store("block-1-0-9", b"lines")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_new_folders_are_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[tuple[int, int]] = set()
    sync = os.fsync

    def noted(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.add((found.st_dev, found.st_ino))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    path = ArchiveFolder(tmp_path / "of" / "answers").store("block-1-0-9", b"lines")
    assert {(one.stat().st_dev, one.stat().st_ino) for one in (path, *list(path.parents)[:4])} <= synced
