"""What the counters of a block mean, as conditions and expressions for statements that read the table `block`."""

from typing import Final

from codewell.pool.block_sizes import BLOCK_SIZE_MIN

# How many codes of a block are in the pool. What was taken is before `next` or a hole behind it, whatever became of it:
# attached, deleted, returned or undone.
POOLED: Final = "(size - next - holes)"

# By the clock of the statement, not of the transaction, which may have begun long before a lock that it waited for.
UNEXPIRED: Final = "(expires_at IS NULL OR expires_at > statement_timestamp())"
# For several statements that have to show the same moment.
UNEXPIRED_IN_SNAPSHOT: Final = "(expires_at IS NULL OR expires_at > now())"

# Blocks that requests are given codes from. Those that are not open hold no unexpired code; the index of open blocks
# leaves them out.
AVAILABLE: Final = f"(open AND {UNEXPIRED})"

# Blocks that can be cut in two. A block with holes can't, as its count of holes can't be divided.
DIVISIBLE: Final = f"(kind = 'range' AND holes = 0 AND {POOLED} >= {2 * BLOCK_SIZE_MIN})"
