"""Folders in the temporary directory: each console has its own, and those of killed ones are removed."""

import fcntl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from codewell.infra.process import scratch
from codewell.infra.process.scratch import remove_left_folders, scratch_folder

_HOLDER = """
import sys
from codewell.infra.process.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "file").write_bytes(b"codes")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_and_nothing_of_a_live_one() -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder,
        scratch_folder() as mine,
    ):
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        assert theirs.parent == mine.parent
        assert theirs.stat().st_mode & 0o077 == 0
        assert remove_left_folders() == 0
        assert (theirs / "file").read_bytes() == b"codes"
        holder.kill()
        holder.wait()
        assert remove_left_folders() == 1
        assert not theirs.exists()
        assert mine.exists()
    assert not mine.exists()


def test_other_things_stay(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    (temporary / "codewell-locked-link").symlink_to(elsewhere)
    (temporary / "codewell-locked-file").touch()
    (temporary / "codewell-upload-old").mkdir()
    assert remove_left_folders() == 0
    assert len(list(temporary.iterdir())) == 3
    assert (elsewhere / "file").exists()


def test_a_folder_that_is_looked_at_before_it_is_locked_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scratch._lock
    made: list[Path] = []

    def lock(descriptor: int, folder: Path) -> bool | None:
        if not made:
            made.append(folder)
            assert remove_left_folders() == 1
        return real(descriptor, folder)

    monkeypatch.setattr(scratch, "_lock", lock)
    with scratch_folder() as folder:
        assert folder != made[0]
        assert list(temporary.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []


def test_a_file_system_without_locks_has_folders_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with scratch_folder() as folder:
        assert remove_left_folders() == 0
        assert folder.exists()
    assert not folder.exists()


def test_folders_are_made_while_others_look_for_left_ones() -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            remove_left_folders()

    looking = [threading.Thread(target=look) for _ in range(3)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(200):
            with scratch_folder() as folder:
                (folder / "file").write_bytes(b"codes")
                assert (folder / "file").read_bytes() == b"codes"
    finally:
        ended.set()
        for thread in looking:
            thread.join()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
