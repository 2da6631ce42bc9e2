"""What the counters of a block mean, as conditions and expressions for statements that read the table `block`."""

from typing import Final

# How many codes of a block are in the pool. What was taken is before `next` or a hole behind it, whatever became of it:
# attached, deleted, returned or undone.
POOLED: Final = "(size - next - holes)"

UNEXPIRED: Final = "(expires_at IS NULL OR expires_at > now())"

# Blocks that requests are given codes from. Those that are not open hold no unexpired code; the index of open blocks
# leaves them out.
AVAILABLE: Final = f"(open AND {UNEXPIRED})"
