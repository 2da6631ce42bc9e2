"""Reads a whole file once: its hash, its size, its kind and a sample to detect its encoding."""

import hashlib
import os
import stat
from codecs import getincrementaldecoder
from pathlib import Path
from typing import Final, Literal, NamedTuple

from codewell.errors import FileRefused
from codewell.files.limits import MIB, FileLimits
from codewell.files.magic import refuse_other_kind

FileKind = Literal["text", "xlsx", "xls"]

SAMPLE_BYTES: Final = 256 * 1024
_MAGIC: Final[dict[bytes, FileKind]] = {b"PK\x03\x04": "xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "xls"}
_UTF8: Final = getincrementaldecoder("utf-8")


class Scan(NamedTuple):
    """The results of one pass over a file."""

    kind: FileKind
    size: int
    """In bytes."""
    sha256: bytes
    is_utf8: bool
    """Whether all bytes are valid UTF-8."""
    sample: bytes
    """The beginning of the file."""
    non_utf8_lines: bytes
    """Some non-ASCII lines, from the first invalid piece on; empty if the file is UTF-8."""
    stamp: tuple[int, int, int, int]
    """Tells this file from another one, and from itself after a change."""
    is_beginning: bool = False
    """Whether the file at hand is only its beginning: see `beginning`."""


def scan(path: Path, limits: FileLimits) -> Scan:
    """Read the file once. Raises FileRefused if it is missing, empty or too large."""
    try:
        return _scan(path, limits)
    except OSError as error:
        raise FileRefused(f"Cannot read {path} ({error.strerror}): check its name and permissions.") from error


def refuse_change(path: Path, scanned: Scan) -> None:
    """Raise FileRefused if the file is no longer the one that was scanned."""
    try:
        same = _stamp(path.stat()) == scanned.stamp
    except OSError:
        same = False
    if not same:
        raise FileRefused(f"{path.name} changed while it was read: import it again once nothing writes to it.")


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _scan(path: Path, limits: FileLimits) -> Scan:
    # A pipe could be read only once, and opening one waits for its writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileRefused(f"{path.name} is not a regular file: save it as one, as it is read more than once.")
    digest, size, decoder, is_utf8 = hashlib.sha256(), 0, _UTF8(), True
    sample, non_utf8_lines = b"", b""
    with path.open("rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        while piece := file.read(MIB):
            sample = sample or piece[:SAMPLE_BYTES]
            size += len(piece)
            if size > limits.bytes_max:
                raise FileRefused(
                    f"{path.name} has more than {limits.bytes_max:,} bytes: split it, or raise the limit.",
                    reason="file_too_large",
                )
            digest.update(piece)
            if is_utf8:
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    is_utf8 = False
            if not is_utf8 and len(non_utf8_lines) < SAMPLE_BYTES:
                non_utf8_lines += b"\n".join(line for line in piece.splitlines() if not line.isascii())[:SAMPLE_BYTES]
        if _stamp(os.fstat(file.fileno())) != stamp or stamp[2] != size:
            raise FileRefused(f"{path.name} changed while it was read: import it again once nothing writes to it.")
    if not size:
        raise FileRefused(f"{path.name} is empty: choose a file with codes.")
    refuse_other_kind(sample)
    is_utf8 = is_utf8 and not decoder.getstate()[0]
    kind: FileKind = next((kind for magic, kind in _MAGIC.items() if sample.startswith(magic)), "text")
    return Scan(kind, size, digest.digest(), is_utf8, sample, non_utf8_lines, stamp)
