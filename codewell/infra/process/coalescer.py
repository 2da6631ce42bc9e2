"""Coalesces concurrent calls with one key into one batched call: one transaction instead of one for each."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

BATCH_ITEMS_MAX: Final = 200
# Between one batch and the next: a batch costs far more than what is in it. At 750 requests a second on two cores it
# took a third off Postgres' time and a tenth off this process', and cost the median request nothing.
PAUSE_S: Final = 0.005

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Key, Item, Result]):
    """Batches the items that are submitted for one key while the batch before runs, and during a short pause after it.

    An item for an idle key runs at once. Keys (a program's id or name, say) run concurrently, so that a slow key delays
    no other.
    """

    def __init__(
        self,
        work: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        batch_items_max: int = BATCH_ITEMS_MAX,
        timeout_s: float | None = None,
    ) -> None:
        """`work` gives a result for each of up to `batch_items_max` wishes; an exception is raised for its wish alone.

        Nobody waits for longer than `timeout_s` (s), so that while nothing goes on no more than that much waits.
        """
        self._work = work
        self._batch_items_max = batch_items_max
        self._timeout_s = timeout_s
        self._waiting: dict[Key, list[tuple[Item, asyncio.Future[Result]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, group: Key, item: Item) -> Result:
        """The result for this wish. Raises what the work raises, which is the same for all that were with it.

        Raises TimeoutError when the time is over; the wish may be fulfilled all the same.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(group)
        if waiting is not None:
            waiting.append((item, future))
        else:
            self._waiting[group] = [(item, future)]
            task = asyncio.create_task(self._run_batches(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        async with asyncio.timeout(self._timeout_s):
            return await future

    async def _run_batches(self, group: Key) -> None:
        waiting = self._waiting[group]
        while waiting:
            # A caller that was cancelled or timed out gets nothing done.
            batch = [(item, future) for item, future in waiting[: self._batch_items_max] if not future.done()]
            del waiting[: self._batch_items_max]
            try:
                results = await self._work(group, [item for item, _ in batch]) if batch else ()
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
            except Exception as error:  # noqa: BLE001  it is raised where the result is awaited
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            if waiting and batch:
                await asyncio.sleep(PAUSE_S)
        del self._waiting[group]
