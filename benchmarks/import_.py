"""Measures the import of code files, beside the usual build and a bare COPY of the texts."""

import csv
import json
import secrets
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from os import environ
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.fresh import fresh_servers
from benchmarks.machine import facts
from benchmarks.mint import TEMPLATE
from benchmarks.report import OF_CEILING, Goal, Progress, Report
from codewell.errors import CodewellError
from codewell.infra.postgres.connection import Connection, connection
from codewell.minting.minter import MINTER_KEY_BYTES, Minter
from codewell.pool import copy_codes
from codewell.pool.minter_cache import Minters
from codewell.programs import programs
from schemas.program import ImportSource, ProgramSettings

CSV_GOAL: Final = 150_000
XLSX_GOAL: Final = 40_000
MEMORY_GOAL_MB: Final = 400
# A sheet has at most a million rows.
_SHEET_ROWS_MAX: Final = 1_000_000
# A part is enough for slower measurements.
_SHEET_SHARE: Final = 2
_USUAL_SHARE: Final = 50
_USUAL_BATCH: Final = 1_000
_COPY_TIMEOUT_S: Final = 3_600
_LARGE_RUN: Final = 100_000
# Runs the command in a process of its own, which prints its peak memory at the end (KiB). getrusage here would report
# this process's peak where that is higher, as it survives exec.
_MEASURED: Final = (
    "import sys; from services.cli import codewell; "
    "codewell(sys.argv[1:], standalone_mode=False); "
    "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)
_SHEET: Final = "xl/worksheets/sheet1.xml"
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006/relationships"


async def bench_import(rows: int, large_rows: int, repetitions: int, progress: Progress) -> Report:
    """Import `rows` codes by the command line, from CSV, half as many from XLSX, and `large_rows` once.

    The last import is measured for its memory only; 0 rows omit it. Raises CodewellError.
    """
    report = Report("import", facts())
    texts = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES)).mint(0, rows)
    table, sheet, usual, bare, memory = [], [], [], [], []
    with TemporaryDirectory(prefix="codewell-bench-files-") as directory:
        as_csv, as_xlsx = Path(directory) / "codes.csv", Path(directory) / "codes.xlsx"
        as_csv.write_text("code\n" + "\n".join(texts) + "\n")
        sheet_texts = texts[: min(_SHEET_ROWS_MAX, -(-rows // _SHEET_SHARE))]
        _write_workbook(as_xlsx, sheet_texts)
        async with fresh_servers(progress) as servers, connection(servers.postgres.url, "codewell-bench") as opened:
            for n in range(1, repetitions + 1):
                taken_s, taken_mb = await _import(opened, servers.postgres.url, f"CSV_{n}", as_csv, rows)
                table.append(rows / taken_s)
                memory.append(taken_mb)
                taken_s, _ = await _import(opened, servers.postgres.url, f"XLSX_{n}", as_xlsx, len(sheet_texts))
                sheet.append(len(sheet_texts) / taken_s)
                usual.append(await _usual(opened, f"USUAL_{n}", as_csv, max(1, rows // _USUAL_SHARE)))
                bare.append(await _copy(opened, f"BARE_{n}", texts))
                progress(f"{n} of {repetitions}: CSV {table[-1]:,.0f}, XLSX {sheet[-1]:,.0f}, usual {usual[-1]:,.0f}, "
                         f"COPY {bare[-1]:,.0f} rows/s")  # fmt: skip
            large_mb = None
            if large_rows:
                progress(f"importing {large_rows:,} rows")
                large_mb = await _large(opened, servers.postgres.url, Path(directory) / "large.csv", large_rows)
    csv_rate = report.add("CSV", "rows/s", table)
    xlsx_rate = report.add("XLSX", "rows/s", sheet)
    report.add("usual build", "rows/s", usual)
    report.add("bare COPY", "rows/s", bare)
    report.add("CSV / usual build", "times", [one / other for one, other in zip(table, usual, strict=True)])
    report.add("CSV / bare COPY", OF_CEILING, [one / other for one, other in zip(table, bare, strict=True)])
    peak = report.add("peak memory with CSV", "MB", memory)
    report.add_goal_and_double("CSV rows a second", csv_rate.rate, CSV_GOAL)
    report.add_goal_and_double("XLSX rows a second", xlsx_rate.rate, XLSX_GOAL)
    report.goals.append(Goal("MB of peak memory", peak.rate, MEMORY_GOAL_MB, at_least=False))
    if large_mb is not None:
        report.add(f"peak memory with {large_rows:,} rows of CSV", "MB", [large_mb])
        report.goals.append(Goal(f"MB with {large_rows:,} rows of CSV", large_mb, MEMORY_GOAL_MB, at_least=False))
    return report


async def _large(opened: Connection, url: str, path: Path, rows: int) -> float:
    """Peak memory of a command that imports `rows` rows (MB)."""
    minter = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES))
    with path.open("w") as file:
        file.write("code\n")
        for first in range(0, rows, _LARGE_RUN):
            file.write("\n".join([*minter.mint(first, min(_LARGE_RUN, rows - first)), ""]))
    _, taken_mb = await _import(opened, url, "LARGE", path, rows)
    return taken_mb


async def _program(opened: Connection, name: str, codes_max: int) -> int:
    settings = ProgramSettings(name=name, source=ImportSource(kind="import"), codes_max=codes_max, pool_max=1)
    return (await programs.create(opened, Minters(None), settings, guesses_per_s=10)).id


async def _import(opened: Connection, url: str, name: str, path: Path, rows: int) -> tuple[float, float]:
    """Duration of the command including its start (s), and its peak memory (MB)."""
    await _program(opened, name, rows)
    words = [sys.executable, "-c", _MEASURED, "code", "import", name, str(path), "--json"]
    began = time.perf_counter()
    ended = subprocess.run(  # noqa: ASYNC221, S603  nothing else may run meanwhile, and it is our own program
        words, env={**environ, "CODEWELL_POSTGRES_URL": url, "CODEWELL_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took_s = time.perf_counter() - began
    if ended.returncode:
        raise CodewellError(f"The import of {path.name} failed: {ended.stderr.strip()[-500:]}")
    said, kib = ended.stdout.splitlines()
    if json.loads(said)["imported"] != rows:
        raise CodewellError(f"Not all rows of {path.name} came in: {said}")
    return took_s, int(kib) * 1024 / 1e6


async def _usual(opened: Connection, name: str, path: Path, rows: int) -> float:
    """Rows a second of the csv module and INSERT ... ON CONFLICT, a thousand rows in a transaction."""
    program_id = await _program(opened, name, rows)
    block_id = await _block(opened, program_id, rows)
    statement = "INSERT INTO code VALUES ($1, $2, $3, $4) ON CONFLICT (program_id, text) DO NOTHING"
    began = time.perf_counter()
    with path.open(newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for first in range(0, rows, _USUAL_BATCH):
            batch = [
                (block_id, first + n, program_id, row[0]) for n, row in zip(range(_USUAL_BATCH), reader, strict=False)
            ]
            async with opened.transaction():
                for one in batch:
                    await opened.execute(statement, *one)
    return rows / (time.perf_counter() - began)


async def _copy(opened: Connection, name: str, texts: Sequence[str]) -> float:
    """Rows a second of one COPY into the same table with the same indexes."""
    program_id = await _program(opened, name, len(texts))
    block_id = await _block(opened, program_id, len(texts))
    source = memoryview(copy_codes.encode(program_id, [(block_id, 0, texts)]))
    began = time.perf_counter()
    await opened.copy_to_table(
        "code", source=source, columns=copy_codes.COLUMNS, format="binary", timeout=_COPY_TIMEOUT_S
    )
    return len(texts) / (time.perf_counter() - began)


async def _block(opened: Connection, program_id: int, size: int) -> int:
    sql = "INSERT INTO block (program_id, kind, size, origin) VALUES ($1, 'list', $2, 'import') RETURNING id"
    return int(await opened.fetchval(sql, program_id, size))


def _write_workbook(path: Path, texts: Sequence[str]) -> None:
    """A workbook of one column, as spreadsheets save it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
        )
        book.writestr("_rels/.rels", _relation(f"{_RELATIONS}/officeDocument", "xl/workbook.xml"))
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
                      '<sheet name="Codes" sheetId="1" r:id="r1"/></sheets></workbook>')  # fmt: skip
        book.writestr("xl/_rels/workbook.xml.rels", _relation(f"{_RELATIONS}/worksheet", "worksheets/sheet1.xml"))
        with book.open(_SHEET, "w") as sheet:
            sheet.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            for number, text in enumerate(texts, 1):
                cell = f'<c r="A{number}" t="inlineStr"><is><t>{text}</t></is></c>'
                sheet.write(f'<row r="{number}">{cell}</row>'.encode())
            sheet.write(b"</sheetData></worksheet>")


def _relation(kind: str, target: str) -> str:
    return f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="r1" Type="{kind}" Target="{target}"/></Relationships>'
