"""I7: what a generator has not done is never committed, also where it does many things at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import faust
import pytest
from faust.tables.manager import TableManager
from mode.services import Service

from services.generator.app import EVENTS_IN_PROGRESS_MAX, create_app
from services.generator.settings import GeneratorSettings
from tests.support.pools import AUTOMATIC, tell_demand
from tests.support.running import until
from tests.support.site import Site

HELD_UP = 0


class Fills:
    """Fills whatever is asked for at once, but for what is held up until it is let go."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.let_go = asyncio.Event()

    async def fill(self, program_id: int) -> None:
        self.asked.append(program_id)
        if program_id == HELD_UP:
            await self.let_go.wait()

    async def until_asked(self, count: int) -> None:
        async def asked() -> bool:
            return len(self.asked) >= count

        await until(asked, f"{count} pools to fill")


@contextlib.asynccontextmanager
async def started(site: Site, fills: Fills) -> AsyncIterator[faust.App]:
    settings = GeneratorSettings(**site.settings("generator"))
    app = create_app(settings, fills.fill)
    await app.start()
    try:
        yield app
    finally:
        fills.let_go.set()
        await app.stop()


async def committed(site: Site, app: faust.App) -> int:
    """How many of the topic's records lie before what is committed when everything that may be is."""
    await app.consumer.commit()
    told = len(await site.all_of("pool-demand"))
    return told - await site.uncommitted("pool-demand", "codewell-generator")


async def tell(site: Site, *program_ids: int) -> None:
    program = await site.program(f"P{program_ids[0]}_{len(program_ids)}", **AUTOMATIC)
    for program_id in program_ids:
        await tell_demand(site, program.model_copy(update={"id": program_id}))


@pytest.mark.parametrize("before", [0, 2])
async def test_nothing_behind_an_event_in_hand_is_committed(site: Site, before: int) -> None:
    fills = Fills()
    async with started(site, fills) as app:
        if before:
            await tell(site, *range(1, before + 1))
            await fills.until_asked(before)

            async def all_committed() -> bool:
                return await committed(site, app) == before

            await until(all_committed, "commit of what is done")
        await tell(site, HELD_UP, 11, 12, 13)
        await fills.until_asked(before + 4)
        assert await committed(site, app) == before
        fills.let_go.set()

        async def rest_committed() -> bool:
            return await committed(site, app) == before + 4

        await until(rest_committed, "commit of the rest")


async def test_no_more_events_are_in_hand_than_allowed(site: Site) -> None:
    fills = Fills()
    async with started(site, fills):
        await tell(site, *[HELD_UP] * (EVENTS_IN_PROGRESS_MAX + 20))
        await fills.until_asked(EVENTS_IN_PROGRESS_MAX)
        # Of another partition: what is behind the limit would have been read before it.
        other = await site.program("OTHER", **AUTOMATIC)
        await tell_demand(site, other, 1)

        async def other_asked() -> bool:
            return other.id in fills.asked

        await until(other_asked, "event of another partition")
        assert fills.asked.count(HELD_UP) == EVENTS_IN_PROGRESS_MAX
        fills.let_go.set()
        await fills.until_asked(EVENTS_IN_PROGRESS_MAX + 21)


async def test_the_start_does_not_pause_for_tables(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    sleep = Service.sleep

    async def noted(service: Service, pause_s: float) -> None:
        if isinstance(service, TableManager):
            pauses_s.append(pause_s)
        await sleep(service, pause_s)

    monkeypatch.setattr(Service, "sleep", noted)
    async with started(site, Fills()) as app:
        assert app.consumer.assignment()
    assert pauses_s == []
