"""Reads a whole file once: its hash, its size, its kind and a sample to detect its encoding."""

import hashlib
from codecs import getincrementaldecoder
from pathlib import Path
from typing import Final, Literal, NamedTuple

from codewell.errors import FileRefused
from codewell.files.limits import MIB, FileLimits

FileKind = Literal["text", "xlsx", "xls"]

_SAMPLE_BYTES: Final = 256 * 1024
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


def scan(path: Path, limits: FileLimits) -> Scan:
    """Read the file once. Raises FileRefused if it is missing, empty or too large."""
    try:
        return _scan(path, limits)
    except OSError as error:
        raise FileRefused(f"Cannot read {path} ({error.strerror}): check its name and permissions.") from error


def _scan(path: Path, limits: FileLimits) -> Scan:
    digest, size, decoder, is_utf8 = hashlib.sha256(), 0, _UTF8(), True
    sample, non_utf8_lines = b"", b""
    with path.open("rb") as file:
        while piece := file.read(MIB):
            sample = sample or piece[:_SAMPLE_BYTES]
            size += len(piece)
            if size > limits.bytes_max:
                raise FileRefused(
                    f"{path.name} has more than {limits.bytes_max:,} bytes: split it, or raise the limit."
                )
            digest.update(piece)
            if is_utf8:
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    is_utf8 = False
            if not is_utf8 and len(non_utf8_lines) < _SAMPLE_BYTES:
                non_utf8_lines += b"\n".join(line for line in piece.splitlines() if not line.isascii())[:_SAMPLE_BYTES]
    if not size:
        raise FileRefused(f"{path.name} is empty: choose a file with codes.")
    is_utf8 = is_utf8 and not decoder.getstate()[0]
    kind: FileKind = next((kind for magic, kind in _MAGIC.items() if sample.startswith(magic)), "text")
    return Scan(kind, size, digest.digest(), is_utf8, sample, non_utf8_lines)
