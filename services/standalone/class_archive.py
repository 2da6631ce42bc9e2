"""A class-data archive of Kafka's classes, kept between starts; it halves the start time.

The first broker of a machine records the classes and writes the archive at its stop, which takes some seconds once.
The JVM ignores an archive from another Java or other jars.
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

import structlog

AOT_CACHE_MAJOR_MIN = 25

log = structlog.get_logger()


class ClassArchive:
    """The archive for one Java and one class path in `cache`; recorded to a file in the home."""

    def __init__(self, cache: Path, recording: Path, java: Path, java_major: int, class_path: str) -> None:
        made_by = hashlib.sha256(f"{java.resolve()}\n{java.stat().st_mtime_ns}\n{class_path}".encode())
        self._path = cache / f"kafka-classes-{made_by.hexdigest()[:16]}.archive"
        self._recording = recording
        self._is_aot_cache = java_major >= AOT_CACHE_MAJOR_MIN

    @property
    def is_kept(self) -> bool:
        return self._path.exists()

    def use_options(self) -> list[str]:
        """JVM options that load the archive, if it exists."""
        if not self.is_kept:
            return []
        return [f"-XX:AOTCache={self._path}" if self._is_aot_cache else f"-XX:SharedArchiveFile={self._path}"]

    def record_options(self) -> list[str]:
        """JVM options that write an archive at exit."""
        name = "AOTCacheOutput" if self._is_aot_cache else "ArchiveClassesAtExit"
        return [f"-XX:{name}={self._recording}"]

    def keep(self) -> None:
        """Move a recorded archive, if any, into the cache for later starts; without it they are only slower."""
        if self.is_kept or not self._recording.exists():
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Copied to the cache's folder first: the cache may be on another disk, and a partial archive breaks a JVM.
            partial = self._path.with_suffix(f".{os.getpid()}")
            shutil.move(self._recording, partial)
            partial.replace(self._path)
        except OSError as error:
            log.warning("kafka's classes not kept", path=str(self._path), reason=error.strerror)

    def drop(self) -> None:
        """Delete the archive, as a start with it has failed."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def user_cache() -> Path:
    """The folder in which archives stay for all homes of the current user. Absolute: Kafka runs in another folder."""
    found = os.environ.get("XDG_CACHE_HOME")
    return (Path(found).absolute() if found else Path.home() / ".cache") / "codewell"
