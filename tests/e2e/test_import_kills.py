"""An import is killed again and again: at the end exactly the file's good rows are there.

CODEWELL_IMPORT_KILLS makes a longer run.
"""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from codewell.audit.promises import audit
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters
from codewell.programs import overview
from tests.support.commands import environment
from tests.support.factories import program
from tests.support.seeded_random import seeded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by signal")

KILLS = int(os.environ.get("CODEWELL_IMPORT_KILLS", "2"))
ROWS = 40_000 * KILLS
# Every so many rows one is no code and, in the second half, one is there twice: then no chunk is copied early.
TWICE_EVERY = 1_000
EMPTY_EVERY = 1_500
STORED_BETWEEN_MAX = 25_000
TIMEOUT_S = 60.0
POLL_S = 0.005


def rows() -> list[str]:
    """The file's rows, behind its head."""
    texts = [f"K{n * 2_654_435_761 % 2**32:08X}{n:06d}" for n in range(ROWS)]
    for n in range(ROWS // 2, ROWS, TWICE_EVERY):
        texts[n] = texts[n // 2 + 1]
    for n in range(EMPTY_EVERY - 1, ROWS, EMPTY_EVERY):
        texts[n] = ""
    return texts


@pytest.fixture
async def watched(connection: Connection) -> Connection:
    """A database with the program SPRING."""
    await program(connection, Minters(None), source={"kind": "import"}, codes_max=2 * ROWS)
    return connection


async def start(path: Path, url: str) -> asyncio.subprocess.Process:
    variables = {"CODEWELL_POSTGRES_URL": url, "CODEWELL_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "code", "import", "SPRING", str(path), "--json",
        env=environment(**variables), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def imported(watched: Connection) -> int:
    count: int = await watched.fetchval("SELECT imported FROM program")
    return count


async def kill_at_a_moment(process: asyncio.subprocess.Process, watched: Connection, chance: random.Random) -> None:
    """Kill the import when it has stored some more rows, at any moment of a chunk."""
    wanted = await imported(watched) + chance.randrange(1, STORED_BETWEEN_MAX)
    async with asyncio.timeout(TIMEOUT_S):
        while await imported(watched) < wanted:
            assert process.returncode is None, "it ended by itself"
            await asyncio.sleep(POLL_S)
    await asyncio.sleep(chance.uniform(0, 0.1))
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert process.returncode == -signal.SIGKILL


async def test_i4_an_import_that_is_killed_again_and_again(
    watched: Connection, database_url: str, tmp_path: Path
) -> None:
    chance = seeded()
    path = tmp_path / "codes.csv"
    texts = rows()
    path.write_text("code\n" + "".join(f"{text}\n" for text in texts))
    for _ in range(KILLS):
        process = await start(path, database_url)
        try:
            await kill_at_a_moment(process, watched, chance)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert await audit(watched) == []
    stored = await imported(watched)
    assert 0 < stored < ROWS

    process = await start(path, database_url)
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    done = json.loads(out)
    good = list(dict.fromkeys(filter(None, texts)))
    empty = texts.count("")
    assert await watched.fetchval("SELECT count(*) FROM import") == 1
    assert (done["state"], done["rows"], done["imported"]) == ("done", ROWS, len(good))
    assert done["bad"] == {"empty": empty, "twice_in_file": ROWS - len(good) - empty}
    kept = await watched.fetch("SELECT text FROM code", timeout=TIMEOUT_S)
    assert sorted(row["text"] for row in kept) == sorted(good)
    bad = await watched.fetch("SELECT row_number, reason FROM import_bad_row")
    assert {row["row_number"] for row in bad if row["reason"] == "empty"} == {
        n for n, text in enumerate(texts, 2) if not text
    }
    assert len(bad) == ROWS - len(good)
    stock = await overview.stock(watched, "SPRING")
    assert (stock.imported, stock.pooled) == (len(good), len(good))
    assert await audit(watched) == []


def test_the_rows_are_what_is_said() -> None:
    """Otherwise the numbers above prove nothing."""
    texts = rows()
    assert len(set(texts)) < ROWS - ROWS // TWICE_EVERY // 2
