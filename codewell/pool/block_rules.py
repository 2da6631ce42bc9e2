"""SQL conditions and expressions over a block's counters, for statements that read the table `block`."""

from typing import Final

from codewell.pool.block_sizes import BLOCK_SIZE_MIN

# Codes of a block that are in the pool. Every taken code, whether attached, deleted, returned or undone, is before
# `next` or is a hole after it.
POOLED: Final = "(size - next - holes)"

# By statement time, not transaction time: a transaction may wait long for a lock after it begins.
UNEXPIRED: Final = "(expires_at IS NULL OR expires_at > statement_timestamp())"
# By transaction time, for several statements that must agree on the time.
UNEXPIRED_IN_SNAPSHOT: Final = "(expires_at IS NULL OR expires_at > now())"

# Blocks whose codes have the least life that program `p` asks for when a code is attached.
LIVES_LONG_ENOUGH: Final = """
    (expires_at IS NULL OR expires_at > statement_timestamp() AND (
        p.min_life_at_attach IS NULL OR expires_at > statement_timestamp() + p.min_life_at_attach))
    """.strip()
# Blocks from which claims give codes of program `p`.
GIVES: Final = f"(open AND {LIVES_LONG_ENOUGH})"
# The same in statements about the one program $1.
GIVES_OF_PROGRAM_1: Final = GIVES.replace(
    "p.min_life_at_attach", "(SELECT min_life_at_attach FROM program WHERE id = $1)"
)

# Blocks with unexpired pooled codes. A closed block has no unexpired code, and the index of open blocks omits it.
AVAILABLE: Final = f"(open AND {UNEXPIRED})"

# Blocks whose import was taken back, or is being refused.
TAKEN_BACK: Final = """
    EXISTS (SELECT FROM import i WHERE i.id = block.import_id AND (
        i.state IN ('undone', 'refused') OR i.state = 'running' AND i.error IS NOT NULL))
    """.strip()

# Blocks that can be split. A block with holes can't, because `holes` does not say which half has them.
DIVISIBLE: Final = f"(kind = 'range' AND holes = 0 AND {POOLED} >= {2 * BLOCK_SIZE_MIN})"

# Blocks with unexpired codes that reservations may give; the index of open reserved blocks has them.
RESERVED: Final = f"(reserved_open AND {UNEXPIRED})"
