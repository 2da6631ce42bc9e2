"""Sizes of the blocks that bring a pool up to its mark."""

from typing import Final

# Below it, cutting a block in two brings no worker forward: one claim takes more than that.
BLOCK_SIZE_MIN: Final = 500
# Above it, one worker holds a part of the pool that others would miss.
BLOCK_SIZE_MAX: Final = 100_000
# However many codes are made at once, the number of rows they cost stays the same.
BLOCKS_AT_ONCE_MAX: Final = 1_000
BLOCKS_A_WORKER: Final = 2
BLOCKS_MIN: Final = 4


def blocks_needed(workers: int) -> int:
    """How many blocks with stock a pool should have, so that each worker finds one that nobody has locked."""
    return max(BLOCKS_MIN, workers * BLOCKS_A_WORKER)


def missing(pooled: int, pool_max: int, room: int, wanted: int = 0) -> int:
    """How many codes to make: up to the mark, or as many as are wanted now if that is more; never past the room."""
    return max(0, min(room, max(pool_max - pooled, wanted)))


def block_sizes(count: int, open_blocks: int, workers: int) -> list[int]:
    """Cut `count` new codes into blocks, given how many blocks the pool has already."""
    if count <= 0:
        return []
    for_workers = min(max(1, blocks_needed(workers) - open_blocks), -(-count // BLOCK_SIZE_MIN))
    for_size = min(-(-count // BLOCK_SIZE_MAX), BLOCKS_AT_ONCE_MAX)
    blocks = max(for_workers, for_size)
    size, larger = divmod(count, blocks)
    return [size + 1] * larger + [size] * (blocks - larger)
