"""Sizes of the new blocks that fill a pool to its mark. Pure."""

from typing import Final

# A smaller block would not help parallel workers: one claim takes more codes than that.
BLOCK_SIZE_MIN: Final = 500
# A larger block would let one worker lock a part of the pool that others need.
BLOCK_SIZE_MAX: Final = 100_000
# Limits the rows of one fill, however many codes it makes.
BLOCKS_AT_ONCE_MAX: Final = 1_000
BLOCKS_A_WORKER: Final = 2
BLOCKS_MIN: Final = 4


def blocks_needed(workers: int) -> int:
    """How many blocks with codes a pool should have, so that each worker finds an unlocked one."""
    return max(BLOCKS_MIN, workers * BLOCKS_A_WORKER)


def missing(pooled: int, pool_max: int, room: int, wanted: int = 0) -> int:
    """How many codes to make: up to the mark, or `wanted` if that is more, but at most `room`."""
    return max(0, min(room, max(pool_max - pooled, wanted)))


def block_sizes(count: int, open_blocks: int, workers: int) -> list[int]:
    """Split `count` new codes into block sizes, which differ by at most 1 and sum to `count`.

    `open_blocks` is how many blocks the pool has already.
    """
    if count <= 0:
        return []
    for_workers = min(max(1, blocks_needed(workers) - open_blocks), -(-count // BLOCK_SIZE_MIN))
    for_size = min(-(-count // BLOCK_SIZE_MAX), BLOCKS_AT_ONCE_MAX)
    blocks = max(for_workers, for_size)
    size, larger = divmod(count, blocks)
    return [size + 1] * larger + [size] * (blocks - larger)
