"""Several generators, and generators with faults: I5, and I7 for the pools."""

import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.support.pools import AUTOMATIC, check, tell_changed, tell_demand, until_full
from tests.support.running import until
from tests.support.site import Site


async def test_two_generators_make_no_code_too_many(site: Site) -> None:
    async with site.generator(sweep_interval_s=0.1), site.generator(sweep_interval_s=0.1):
        programs = [await site.program(f"P{n}", campaign_can_create=True, pool_max=100 + n) for n in range(12)]
        for program in programs:
            for partition in (0, 1):
                await tell_demand(site, program, partition)
                await tell_changed(site, program, partition)
        await until_full(site, *programs)
        # What came for these programs is read before what comes for the next.
        last = [await site.program(f"LAST{n}", **AUTOMATIC) for n in (0, 1)]
        for partition, program in enumerate(last):
            await tell_demand(site, program, partition)
        await until_full(site, *last)
    for program in programs:
        assert (await site.stock(program.name)).made == program.pool_max
    await check(site)


async def test_i7_a_generator_heals_when_its_connections_were_cut(site: Site) -> None:
    async with site.generator():
        first = await site.program("FIRST", **AUTOMATIC)
        await tell_changed(site, first)
        await until_full(site, first)
        for name in ("SECOND", "THIRD"):
            assert await site.terminate_connections("codewell-generator") >= 1
            program = await site.program(name, **AUTOMATIC)
            await tell_demand(site, program)
            await until_full(site, program)


async def until_waiting(site: Site) -> None:
    """Wait until the generator waits for a program that somebody has locked."""

    async def waits() -> bool:
        return await site.waits_for_lock("codewell-generator")

    await until(waits, "generator that waits for a program")


async def test_i7_a_top_up_that_is_cut_off_is_made_again(site: Site, connection: asyncpg.Connection) -> None:
    program = await site.program("A", **AUTOMATIC)
    lock = connection.transaction()
    await lock.start()
    await connection.execute("SELECT FROM program WHERE id = $1 FOR UPDATE", program.id)
    async with site.generator():
        await until_waiting(site)
        assert await site.terminate_connections("codewell-generator") >= 1
        await until_waiting(site)
        await lock.rollback()
        await until_full(site, program)
    assert (await site.stock("A")).made == 500


async def test_a_program_that_somebody_has_locked_holds_up_no_other(site: Site, connection: asyncpg.Connection) -> None:
    programs = [await site.program(f"P{number:03}", **AUTOMATIC) for number in range(120)]
    lock = connection.transaction()
    async with site.generator():
        await until_full(site, *programs)
        # The sweep at the start took a hundred of them at once, and then the others.
        assert await site.database.fetchval("SELECT count(DISTINCT xmin::text) FROM block WHERE size = 500") == 2
        await site.database.execute("UPDATE program SET pool_max = 600")
        await lock.start()
        await connection.execute("SELECT FROM program WHERE id = $1 FOR UPDATE", programs[0].id)
        for program in programs:
            await tell_demand(site, program)

        async def others_full() -> bool:
            return bool(await site.database.fetchval("SELECT count(*) = 119 FROM program WHERE made = 600"))

        await until(others_full, "full pools of all others")
        await lock.rollback()
    assert [(await site.stock(program.name)).made for program in programs] == [600] * 120
    await check(site)


async def test_a_program_that_cannot_be_filled_spoils_it_for_no_other(site: Site) -> None:
    first, broken, last = [await site.program(name, **AUTOMATIC) for name in ("FIRST", "BROKEN", "LAST")]
    await site.database.execute("UPDATE template_version SET template = '{' WHERE program_id = $1", broken.id)
    async with site.generator():
        await until_full(site, first, last)
        later = await site.program("LATER", **AUTOMATIC)
        await tell_demand(site, broken)
        await tell_demand(site, later)
        await until_full(site, later)
    assert (await site.stock("BROKEN")).made == 0


async def test_a_stop_finishes_the_top_up_in_hand(site: Site, connection: asyncpg.Connection) -> None:
    program = await site.program("A", **AUTOMATIC)
    raise_mark = connection.transaction()
    async with site.generator() as stop:
        await until_full(site, program)
        await raise_mark.start()
        await connection.execute("UPDATE program SET pool_max = 700 WHERE id = $1", program.id)
        await tell_demand(site, program)
        await until_waiting(site)
        stop.set()
        await raise_mark.commit()
    assert (await site.stock("A")).pooled == 700
    await check(site)


async def test_a_generator_has_no_files_that_a_kill_would_leave(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with site.generator():
        program = await site.program("A", **AUTOMATIC)
        await tell_changed(site, program)
        await until_full(site, program)
        assert list(tmp_path.iterdir()) == []
