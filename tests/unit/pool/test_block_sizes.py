import pytest
from hypothesis import given
from hypothesis import strategies as st

from codewell.pool.block_sizes import (
    BLOCK_SIZE_MAX,
    BLOCK_SIZE_MIN,
    BLOCKS_AT_ONCE_MAX,
    block_sizes,
    blocks_needed,
    missing,
)

CODES = st.integers(1, 2**62)
BLOCKS = st.integers(0, 2_000)
WORKERS = st.integers(0, 500)


@pytest.mark.parametrize(("workers", "blocks"), [(0, 4), (1, 4), (2, 4), (3, 6), (50, 100)])
def test_each_worker_finds_a_block_that_nobody_has_locked(workers: int, blocks: int) -> None:
    assert blocks_needed(workers) == blocks


@pytest.mark.parametrize(
    ("pooled", "pool_max", "room", "wanted", "count"),
    [
        (0, 100, 1_000, 0, 100),
        (60, 100, 1_000, 0, 40),
        (100, 100, 1_000, 0, 0),
        (250, 100, 1_000, 0, 0),
        (0, 100, 30, 0, 30),
        (0, 100, 0, 0, 0),
        # A lowered maximum leaves no room; it takes nothing away.
        (0, 100, -5, 0, 0),
        (0, 100, 1_000, 400, 400),
        (90, 100, 1_000, 5, 10),
        (0, 100, 300, 400, 300),
    ],
)
def test_what_is_missing_ends_at_the_mark_or_the_maximum(
    pooled: int, pool_max: int, room: int, wanted: int, count: int
) -> None:
    assert missing(pooled, pool_max, room, wanted) == count


@given(CODES, BLOCKS, WORKERS)
def test_blocks_hold_every_code_and_differ_by_one_at_most(count: int, open_blocks: int, workers: int) -> None:
    sizes = block_sizes(count, open_blocks, workers)

    assert sum(sizes) == count
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= 1


@given(CODES, BLOCKS, WORKERS)
def test_the_number_of_rows_is_bounded(count: int, open_blocks: int, workers: int) -> None:
    assert len(block_sizes(count, open_blocks, workers)) <= max(BLOCKS_AT_ONCE_MAX, blocks_needed(workers))


@given(st.integers(1, BLOCKS_AT_ONCE_MAX * BLOCK_SIZE_MAX), BLOCKS, WORKERS)
def test_no_block_is_so_large_that_one_worker_holds_up_others(count: int, open_blocks: int, workers: int) -> None:
    assert max(block_sizes(count, open_blocks, workers)) <= BLOCK_SIZE_MAX


@given(st.integers(1, BLOCK_SIZE_MIN * 100), BLOCKS, WORKERS)
def test_workers_get_blocks_of_their_own_while_there_is_enough_to_share(
    count: int, open_blocks: int, workers: int
) -> None:
    sizes = block_sizes(count, open_blocks, workers)

    enough = open_blocks + len(sizes) >= blocks_needed(workers)
    assert enough or len(sizes) == -(-count // BLOCK_SIZE_MIN)


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_to_make_makes_no_blocks(count: int) -> None:
    assert block_sizes(count, 0, 8) == []
