"""Workbooks: checked before they are decompressed, then read by a child process with memory and time limits."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Generator
from io import FileIO, TextIOWrapper
from pathlib import Path
from threading import Timer
from typing import BinaryIO, Final, cast

from codewell.errors import FileRefused, FileUncertain
from codewell.files import sheet_child
from codewell.files.limits import MIB, FileLimits
from codewell.files.lines import limited_lines

# The entries of a workbook: its sheets, a few internal tables, pictures.
_ENTRIES_MAX: Final = 10_000
_DIRECTORY_BYTES_MAX: Final = 2 * MIB
# Real workbooks decompress to some ten times their size, sheets of identical cells to some fifty times.
_RATIO_MAX: Final = 200
# Until the first row; after it the child waits for its reader.
FIRST_ROW_TIMEOUT_S: Final = 30.0
_EXIT_TIMEOUT_S: Final = 10.0
_OTHER_PACKAGES: Final = {
    "content.xml": "an OpenDocument file",
    "xl/workbook.bin": "a binary workbook (XLSB)",
    "word/document.xml": "a text document (DOCX)",
    "ppt/presentation.xml": "a presentation (PPTX)",
    "Index/Document.iwa": "a Numbers or Pages document",
}
_ROOT: Final = str(Path(__file__).parents[2])


class _LimitedZip(FileIO):
    """A ZIP file whose central directory, which zipfile reads whole, is refused if it is too long."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES_MAX:
            raise FileRefused("The workbook's directory is too long: save it again with one sheet.")
        return super().read(size)


def check_workbook(path: Path, limits: FileLimits) -> None:
    """Raise FileRefused if an XLSX file's directory is unreadable, or its declared decompressed size is too large.

    A directory may lie; only the child decompresses the content, within its limits.
    """
    try:
        with _LimitedZip(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise FileRefused("The workbook is truncated or corrupt: save it again.") from error
    size = sum(entry.file_size for entry in entries)
    if size > limits.unpacked_bytes_max:
        raise FileRefused(
            f"The workbook unpacks to {size:,} bytes, more than {limits.unpacked_bytes_max:,}: save it as CSV."
        )
    if len(entries) > _ENTRIES_MAX or size > _RATIO_MAX * path.stat().st_size:
        raise FileRefused("The workbook is compressed unusually strongly: save its sheet as CSV.")
    names = {entry.filename for entry in entries}
    if len({name.lower() for name in names}) < len(entries):
        # Two libraries might read two different parts of one name.
        raise FileRefused("The workbook has two parts of one name: save it again.")
    if "xl/workbook.xml" not in names:
        kind = next((kind for part, kind in _OTHER_PACKAGES.items() if part in names), "an archive, not a workbook")
        raise FileRefused(f"The file is {kind}: save the codes as CSV or XLSX.")


def first_sheet(path: Path, limits: FileLimits) -> str:
    """The name of the first sheet that may hold the codes. Raises FileRefused as `sheet_lines` does."""
    lines = sheet_lines(path, None, limits, takes_first=True)
    try:
        return str(json.loads(next(lines))["sheet"])
    finally:
        lines.close()


def sheet_lines(
    path: Path, sheet: str | None, limits: FileLimits, *, takes_first: bool = False
) -> Generator[str, None, None]:
    """Yield the child's lines for the named sheet, or for the only visible one with cells.

    With `takes_first` they are those of the first one where that is not certain.

    Raises FileRefused if there is no such sheet, or the child can't read it within its limits. Closing the iterator
    ends the child.
    """
    # Isolated, so that no environment variable or file beside the program changes what it imports.
    code = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from codewell.files.sheet_child import main; main(*sys.argv[1:])"
    )
    given = [str(path.absolute()), sheet or "", str(limits.columns_max), "first" if takes_first else ""]
    words = [sys.executable, "-I", "-c", code, *given]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:  # noqa: S603  our own program
        deadline = Timer(FIRST_ROW_TIMEOUT_S, child.kill)
        deadline.start()
        try:
            out, err = cast("BinaryIO", child.stdout), cast("BinaryIO", child.stderr)
            with TextIOWrapper(out, "utf-8", newline="\n") as text:
                for line in limited_lines(text, limits):
                    deadline.cancel()
                    yield line
            # Names of sheets are the file's; a terminal would interpret some characters.
            said = "".join(one if one.isprintable() else "?" for one in err.read().decode("utf-8", "replace"))
            status = child.wait(_EXIT_TIMEOUT_S)
        finally:
            deadline.cancel()
            child.kill()
    if status == sheet_child.EXIT_UNCERTAIN:
        raise FileUncertain(said)
    if status == sheet_child.EXIT_REFUSED:
        raise FileRefused(said)
    if status:
        raise FileRefused(
            f"The workbook takes more than {sheet_child.MEMORY_BYTES_MAX // 2**20} MiB or {FIRST_ROW_TIMEOUT_S:.0f} s "
            "to read: save its sheet as CSV."
        )
