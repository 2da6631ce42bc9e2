"""Writes a workbook's sheet as CSV to standard output, in a child process with limits on memory and time.

The library reads a whole sheet and can be made to use any amount of memory; here only the child dies. For an unreadable
workbook it writes one sentence to standard error and exits with status 3.
"""

import csv
import resource
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
CPU_S_MAX: Final = 25
EXIT_REFUSED: Final = 3
_SHEETS_LISTED_MAX: Final = 20


def main(path: str, sheet: str) -> None:
    """Write the sheet of this name, or the first sheet for an empty name."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    try:
        with CalamineWorkbook.from_path(path) as book:
            if sheet and sheet not in book.sheet_names:
                names = [name[:100] for name in book.sheet_names[:_SHEETS_LISTED_MAX]]
                _refuse(f"There is no sheet {sheet}: the workbook has {', '.join(names)}.")
            # The library omits leading empty columns, but not leading empty rows.
            found = book.get_sheet_by_name(sheet) if sheet else book.get_sheet_by_index(0)
            before = [""] * (found.start[1] if found.start else 0)
            csv.writer(sys.stdout).writerows(before + list(_cell_texts(row)) for row in found.iter_rows())
            sys.stdout.flush()
    except PasswordError:
        _refuse("The workbook is protected by a password: save it without one.")
    except CalamineError as error:
        _refuse(f"The workbook cannot be read ({str(error)[:200]}): save it again, or as CSV.")


def _cell_texts(row: Sequence[object]) -> Iterator[str]:
    for cell in row:
        match cell:
            case str():
                yield cell
            case bool():
                yield str(cell).upper()
            case float():
                yield str(int(cell)) if cell.is_integer() else repr(cell)
            # Workbooks have no time zones.
            case datetime():
                yield cell.date().isoformat() if cell.time() == time() else f"{cell.isoformat()}Z"
            case date() | time():
                yield cell.isoformat()
            case timedelta() | int() | _:
                yield str(cell)


def _refuse(sentence: str) -> None:
    sys.stderr.write(sentence)
    raise SystemExit(EXIT_REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
