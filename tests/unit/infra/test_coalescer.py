"""What is coalescer is done at once, side by side with other groups, and nobody's fault is another's loss of order."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from codewell.infra.process.coalescer import BATCH_ITEMS_MAX, Coalescer


class Work:
    """Doubles numbers once it is let go, and keeps what came together."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.go = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def __call__(self, group: str, wishes: Sequence[int]) -> list[int]:
        self.batches.append((group, list(wishes)))
        await self.go[group].wait()
        if 0 in wishes:
            raise ValueError("0")
        return [2 * wish for wish in wishes]


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_is_done_together() -> None:
    work = Work()
    coalescer = Coalescer(work)
    first = asyncio.create_task(coalescer.submit("a", 1))
    await some_turns()
    more = [asyncio.create_task(coalescer.submit("a", wish)) for wish in (2, 3, 4)]
    await some_turns()
    work.go["a"].set()

    assert await asyncio.gather(first, *more) == [2, 4, 6, 8]
    assert work.batches == [("a", [1]), ("a", [2, 3, 4])]
    assert await coalescer.submit("a", 5) == 10


async def test_a_pause_ends_once_as_many_wait_as_the_batch_had() -> None:
    work = Work()
    work.go["a"].set()
    coalescer = Coalescer(work, pause_s=3_600, ends_early=True)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(coalescer.submit("a", wish) for wish in (1, 2))) == [2, 4]
        third = asyncio.create_task(coalescer.submit("a", 3))
        await some_turns()
        assert work.batches == [("a", [1, 2])]
        assert (await coalescer.submit("a", 4), await third) == (8, 6)
    assert work.batches == [("a", [1, 2]), ("a", [3, 4])]


async def test_no_pause_follows_a_batch_during_which_as_many_came() -> None:
    work = Work()
    coalescer = Coalescer(work, pause_s=3_600, ends_early=True)
    async with asyncio.timeout(10):
        first = asyncio.create_task(coalescer.submit("a", 1))
        await some_turns()
        second = asyncio.create_task(coalescer.submit("a", 2))
        await some_turns()
        work.go["a"].set()
        assert (await first, await second) == (2, 4)


async def test_a_pause_ends_although_fewer_came() -> None:
    work = Work()
    work.go["a"].set()
    coalescer = Coalescer(work, pause_s=0.01, ends_early=True)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(coalescer.submit("a", wish) for wish in (1, 2))) == [2, 4]
        assert await coalescer.submit("a", 3) == 6


async def test_a_group_that_is_held_up_holds_up_no_other() -> None:
    work = Work()
    coalescer = Coalescer(work)
    held = asyncio.create_task(coalescer.submit("a", 1))
    await some_turns()
    work.go["b"].set()

    assert await coalescer.submit("b", 2) == 4
    assert not held.done()
    work.go["a"].set()
    assert await held == 2


async def test_what_fails_fails_for_those_who_were_with_it() -> None:
    work = Work()
    work.go["a"].set()
    coalescer = Coalescer(work)
    results = await asyncio.gather(*(coalescer.submit("a", wish) for wish in (0, 1)), return_exceptions=True)

    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await coalescer.submit("a", 1) == 2


async def test_who_went_away_is_given_nothing_and_a_batch_has_its_limit() -> None:
    work = Work()
    coalescer = Coalescer(work, batch_items_max=2)
    asked = [asyncio.create_task(coalescer.submit("a", wish)) for wish in (1, 2, 3, 4, 5)]
    await some_turns()
    asked[3].cancel()
    await some_turns()
    work.go["a"].set()

    assert await asyncio.gather(*asked[:3], asked[4]) == [2, 4, 6, 10]
    assert 4 not in [wish for _, wishes in work.batches for wish in wishes]
    assert max(len(wishes) for _, wishes in work.batches) == 2


async def test_a_result_that_is_an_exception_is_one_wish_s_own() -> None:
    async def work(_: str, wishes: Sequence[int]) -> list[int | Exception]:
        return [wish or ValueError("0") for wish in wishes]

    coalescer = Coalescer(work)
    first, odd, last = [asyncio.create_task(coalescer.submit("a", wish)) for wish in (1, 0, 2)]
    assert [await first, await last] == [1, 2]
    with pytest.raises(ValueError, match="0"):
        await odd


async def test_nobody_waits_longer_than_the_limit_and_who_has_gone_is_not_worked_for() -> None:
    work = Work()
    coalescer: Coalescer[str, int, int] = Coalescer(work, timeout_s=0.5)
    outcomes = await asyncio.gather(*(coalescer.submit("a", wish) for wish in range(1, 1_000)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TimeoutError}
    work.go["a"].set()
    assert await coalescer.submit("a", 1_000) == 2_000
    assert [len(wishes) for _, wishes in work.batches] == [BATCH_ITEMS_MAX, 1]


async def test_each_that_came_later_has_its_own_time_and_no_timer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers = []
    real = loop.call_at

    def call_at(when: float, done: Callable[..., object], *given: Any, **named: Any) -> asyncio.TimerHandle:
        timer = real(when, done, *given, **named)
        if getattr(done, "__name__", "") == "_expire":
            timers.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_at", call_at)
    work = Work()
    coalescer: Coalescer[str, int, int] = Coalescer(work, timeout_s=0.2, pause_s=0)
    async with asyncio.timeout(10):
        first = asyncio.create_task(coalescer.submit("a", 1))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(coalescer.submit("a", 2))
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        with pytest.raises(TimeoutError):
            await coalescer.submit("a", 3)
    assert [type(outcome) for outcome in outcomes] == [TimeoutError, TimeoutError]
    work.go["a"].set()
    assert await coalescer.submit("a", 4) == 8
    await some_turns()
    # One for all that wait.
    assert 1 <= len(timers) <= 4
    assert all(timer.cancelled() or timer.when() <= loop.time() for timer in timers)
