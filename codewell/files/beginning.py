"""The beginning of a file that was read once, from which its first rows are read again without the rest.

Of a text it is its first bytes, of a workbook the first lines that its child process gave of the sheet that it chose.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from codewell.errors import FileRefused, FileUncertain
from codewell.files.encoding import detect_encoding
from codewell.files.limits import MIB, FileLimits
from codewell.files.lines import TextLines
from codewell.files.scan import SAMPLE_BYTES, Scan
from codewell.files.sheets import check_workbook, sheet_lines
from schemas.imports import ImportOptions

BYTES_MAX: Final = 2 * MIB
# Of a workbook: those that a preview checks, and what may stand above them.
LINES_MAX: Final = 1_200


class BeginningTooShort(Exception):
    """What was asked for is not in the beginning of the file."""


def beginning_of(path: Path, scanned: Scan, limits: FileLimits) -> bytes:
    """The beginning of a whole file: none of a workbook whose sheet is to be chosen. Raises FileRefused."""
    if scanned.kind == "text":
        with path.open("rb") as file:
            return file.read(BYTES_MAX)
    if scanned.kind == "xlsx":
        check_workbook(path, limits)
    found, size = [], 0
    lines = sheet_lines(path, None, limits)
    try:
        for line in islice(lines, LINES_MAX):
            size += len(line.encode())
            if size > BYTES_MAX:
                break
            found.append(line)
    except FileUncertain:
        return b""
    finally:
        lines.close()
    return "".join(found).encode()


def lines_of(path: Path, scanned: Scan, options: ImportOptions, limits: FileLimits) -> Generator[str, None, None]:
    """The lines of a beginning, as those of the whole file. Raises BeginningTooShort after the last whole one."""
    if scanned.kind == "text":
        encoding = detect_encoding(scanned, options.encoding).name
        try:
            with closing(TextLines(path, encoding, limits)) as lines:
                yield from _whole(lines)
        except FileRefused as error:
            # It may end within a character. If it is wrong before, so is the whole file.
            raise BeginningTooShort from error
    else:
        with path.open(encoding="utf-8", newline="") as file:
            head = file.readline()
            if not head or options.sheet not in {None, json.loads(head)["sheet"]}:
                raise BeginningTooShort
            yield head
            yield from _whole(file)
    raise BeginningTooShort


def _whole(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.endswith(("\n", "\r")):
            return
        yield line


def facts_of(scanned: Scan) -> dict[str, Any]:
    """What a scan found, as JSON, without what the beginning itself has."""
    return {
        "kind": scanned.kind,
        "size": scanned.size,
        "sha256": scanned.sha256.hex(),
        "is_utf8": scanned.is_utf8,
        "non_utf8_lines": b64encode(scanned.non_utf8_lines).decode(),
    }


def scan_of(facts: dict[str, Any], beginning: bytes) -> Scan:
    """The scan of a whole file from its facts and its beginning."""
    return Scan(
        facts["kind"],
        facts["size"],
        bytes.fromhex(facts["sha256"]),
        facts["is_utf8"],
        b"" if facts["kind"] != "text" else beginning[:SAMPLE_BYTES],
        b64decode(facts["non_utf8_lines"]),
        (0, 0, 0, 0),
        is_beginning=True,
    )
