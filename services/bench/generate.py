"""How long a program's codes take to make, however many, beside storing codes one by one as rows."""

import secrets
import time
from collections.abc import Sequence
from typing import Final

from schemas.program import ProgramSettings, TemplateSource
from services.bench.fresh import fresh_servers
from services.bench.machine import facts
from services.bench.mint import TEMPLATE
from services.bench.report import Goal, Progress, Report
from services.codes.minter import MINTER_KEY_BYTES, Minter
from services.postgres.connection import Connection, connection
from services.store import filling, programs
from services.store.minters import Minters

SECONDS_GOAL: Final = 1.0
_COPY_TIMEOUT_S: Final = 600

_PLAIN: Final = "CREATE TABLE stored_code (program_id bigint NOT NULL, code text NOT NULL)"
_UNIQUE: Final = "CREATE TABLE stored_code (program_id bigint NOT NULL, code text NOT NULL, UNIQUE (program_id, code))"


async def bench_generate(codes: int, stored: int, repetitions: int, progress: Progress) -> Report:
    """Generate one code, then `codes` more in one program; copy `stored` texts into a table. Raises CodewellError."""
    report = Report("generate", facts())
    texts = Minter(TEMPLATE, secrets.token_bytes(MINTER_KEY_BYTES)).mint(0, stored)
    ones, alls, plain, unique = [], [], [], []
    async with fresh_servers(progress) as servers, connection(servers.postgres.url, "codewell-bench") as opened:
        await _generate(opened, "WARM_UP", codes)
        for repetition in range(1, repetitions + 1):
            one_s, all_s = await _generate(opened, f"PROGRAM_{repetition}", codes)
            ones.append(one_s)
            alls.append(all_s)
            progress(f"generated, {repetition} of {repetitions}: {codes:,} codes in {1_000 * all_s:,.1f} ms")
            plain.append(stored / await _copy(opened, _PLAIN, texts))
            unique.append(stored / await _copy(opened, _UNIQUE, texts))
            progress(f"copied, {repetition} of {repetitions}: {plain[-1]:,.0f} and {unique[-1]:,.0f} codes/s")
    report.add("generate 1 code", "ms", [1_000 * one_s for one_s in ones])
    seconds = report.add(f"generate {codes:,} codes", "s", alls)
    report.add(f"generate {codes:,} codes", "codes/s", [codes / all_s for all_s in alls])
    report.add(f"COPY {stored:,} codes", "codes/s", plain)
    report.add(f"COPY {stored:,} codes, unique index", "codes/s", unique)
    report.goals.append(Goal(f"seconds for {codes:,} codes", seconds.rate, SECONDS_GOAL, at_least=False))
    return report


async def _generate(opened: Connection, name: str, codes: int) -> tuple[float, float]:
    """How long one code took, and then so many more in the same program (s)."""
    settings = ProgramSettings(
        name=name,
        source=TemplateSource(kind="template", template=TEMPLATE.text),
        codes_max=codes + 1,
        pool_max=1,
        # So many codes of this template could be guessed, which is not what is measured.
        allow_guessable=True,
    )
    minters = Minters(None)
    program = await programs.create(opened, minters, settings, guesses_per_s=10)
    began = time.perf_counter()
    await filling.generate(opened, minters, program.id, 1, None)
    between = time.perf_counter()
    await filling.generate(opened, minters, program.id, codes, None)
    return between - began, time.perf_counter() - between


async def _copy(opened: Connection, table: str, texts: Sequence[str]) -> float:
    """How long the texts took into a new, empty table (s)."""
    await opened.execute("DROP TABLE IF EXISTS stored_code")
    await opened.execute(table)
    began = time.perf_counter()
    await opened.copy_records_to_table("stored_code", records=((1, text) for text in texts), timeout=_COPY_TIMEOUT_S)
    return time.perf_counter() - began
