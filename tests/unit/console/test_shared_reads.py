"""Concurrent requests share a read, and none gets what is older than a cache would keep."""

import asyncio

from services.console.http.shared_reads import SharedReads


class Database:
    """Counts reads, each of which returns its number once it may."""

    def __init__(self) -> None:
        self.reads = 0
        self.up = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await self.up.wait()
        if number == 3:
            raise OSError("3")
        return number


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_read_is_shared_while_it_runs() -> None:
    database, reads = Database(), SharedReads[str, int](60)
    asked = [asyncio.create_task(reads.read("a", database.read)) for _ in range(4)]
    other = asyncio.create_task(reads.read("b", database.read))
    await some_turns()
    asked[0].cancel()
    await some_turns()
    database.up.set()

    assert await asyncio.gather(*asked[1:], other) == [1, 1, 1, 2]
    assert asked[0].cancelled()
    failed = await asyncio.gather(*(reads.read("a", database.read) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in failed] == [OSError, OSError]
    assert await reads.read("a", database.read) == 4


async def test_a_read_that_began_too_long_ago_is_not_shared() -> None:
    database, reads = Database(), SharedReads[str, int](0)
    asked = [asyncio.create_task(reads.read("a", database.read)) for _ in range(2)]
    await some_turns()
    database.up.set()

    assert await asyncio.gather(*asked) == [1, 2]
