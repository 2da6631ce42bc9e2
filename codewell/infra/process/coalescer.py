"""What many ask for at the same time is done at once: one transaction instead of one for each."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

AT_ONCE_MAX: Final = 200
# Between one batch and the next: a batch costs far more than what is in it. At 750 requests a second on two cores it
# took a third off Postgres' time and a tenth off this process', and cost the median request nothing.
PAUSE_S: Final = 0.005

G = TypeVar("G", bound=Hashable)
W = TypeVar("W")
R = TypeVar("R")


class Coalescer(Generic[G, W, R]):
    """Does at once what is asked for while the same is being done for others, and for a moment behind that.

    What is asked while nothing is being done is done without waiting for anybody. What is asked of different groups (a
    program's id or name, say) is done side by side, so that one of them which is held up holds up no other.
    """

    def __init__(
        self,
        work: Callable[[G, Sequence[W]], Awaitable[Sequence[R | Exception]]],
        at_once_max: int = AT_ONCE_MAX,
        timeout_s: float | None = None,
    ) -> None:
        """`work` gives a result for each of up to `at_once_max` wishes; an exception is raised for its wish alone.

        Nobody waits for longer than `timeout_s` (s), so that while nothing goes on no more than that much waits.
        """
        self._work = work
        self._at_once_max = at_once_max
        self._timeout_s = timeout_s
        self._waiting: dict[G, list[tuple[W, asyncio.Future[R]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, group: G, item: W) -> R:
        """The result for this wish. Raises what the work raises, which is the same for all that were with it.

        Raises TimeoutError when the time is over; the wish may be fulfilled all the same.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(group)
        if waiting is not None:
            waiting.append((item, future))
        else:
            self._waiting[group] = [(item, future)]
            task = asyncio.create_task(self._do(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        async with asyncio.timeout(self._timeout_s):
            return await future

    async def _do(self, group: G) -> None:
        waiting = self._waiting[group]
        while waiting:
            # Who has gone away meanwhile is not to be given anything.
            batch = [(item, future) for item, future in waiting[: self._at_once_max] if not future.done()]
            del waiting[: self._at_once_max]
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
