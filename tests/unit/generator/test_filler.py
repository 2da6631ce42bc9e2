"""A sweep that waits for the database is not stuck, however long: a generator that is started anew waits as well."""

import asyncio
import time
from typing import Never

import pytest

from codewell.infra.postgres.connection import Pool
from codewell.infra.telemetry.health import STUCK_AFTER_S, Health
from codewell.pool.minter_cache import Minters
from services.generator.filler import Filler


class Away(Pool):
    """A pool whose database is away."""

    def __init__(self, asked: asyncio.Event) -> None:
        self._asked = asked

    def acquire(self, **_: object) -> Never:
        self._asked.set()
        raise ConnectionRefusedError


@pytest.mark.parametrize("filling", ["one", "many", "sweep"])
async def test_a_sweep_whose_database_is_away_is_not_stuck(monkeypatch: pytest.MonkeyPatch, filling: str) -> None:
    health, stop, asked = Health(), asyncio.Event(), asyncio.Event()
    filler = Filler(Away(asked), Minters(None), health, stop, asyncio.Event())
    health.heartbeat("sweep")
    work = {"one": filler.fill(1), "many": filler.fill_many([1]), "sweep": filler.sweep()}
    task = asyncio.create_task(work.pop(filling))
    for other in work.values():
        other.close()
    await asyncio.wait_for(asked.wait(), 5)
    now_s = time.monotonic()
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: now_s + 2 * STUCK_AFTER_S)
        stuck = health.stuck
    stop.set()
    await task
    assert stuck == []
    assert health.waiting_for.keys() == {"postgres (pools)"}
