"""SQL expressions for a code's state, effective expiry and effective custom fields.

They read `block b`, the code's block; `answer a`, its first attachment; and `code_state s`, its later changes. The last
two may have no row. The statement itself must exclude positions whose code has moved to another block (`returned_at`).
"""

from typing import Final

from codewell.reasons import ProblemReason

# States that code_state alone determines, so that statements for them need no other table. DELETED lacks VOIDED.
DELETED: Final = "s.deleted_at IS NOT NULL"
# Used up: it can't be used again until a use is taken back.
ACTIVATED: Final = "s.activated_at IS NOT NULL AND s.deleted_at IS NULL"
# An order holds the code, or has used a part of its uses, or it is used up. Such a code isn't taken from its holder.
_HELD: Final = "s.held_until > {now}"
HELD: Final = _HELD.format(now="statement_timestamp()")
USED_OR_HELD: Final = f"coalesce(s.activated_at IS NOT NULL OR s.uses > 0 OR {HELD}, false)"

# A change overrides both. Otherwise an attached code has those of its answer, a pooled code those of its block.
EXPIRES_AT: Final = (
    "(CASE WHEN s.changed THEN s.expires_at WHEN a.block_id IS NULL THEN b.expires_at ELSE a.expires_at END)"
)
FIELDS: Final = "(CASE WHEN s.changed THEN s.fields WHEN a.block_id IS NULL THEN b.fields ELSE a.fields END)"

# Of codes that were deleted with all that were pooled in their block.
VOIDED: Final = "b.voided_at IS NOT NULL AND a.block_id IS NULL"
DELETED_AT: Final = f"(CASE WHEN {VOIDED} THEN coalesce(s.deleted_at, b.voided_at) ELSE s.deleted_at END)"

# Of a block whose answers have left: a code without one was given and expired long ago, or expired in the pool.
ARCHIVED: Final = "b.archived_until IS NOT NULL AND a.block_id IS NULL"

_STATE: Final = f"""(
    CASE WHEN {DELETED} OR {VOIDED} THEN 'deleted' WHEN {ACTIVATED} THEN 'activated'
         WHEN {EXPIRES_AT} <= {{now}} OR {ARCHIVED} THEN 'expired' WHEN a.block_id IS NULL THEN 'pooled'
         WHEN {_HELD} THEN 'held' ELSE 'attached' END)"""
# By statement time, not transaction time: a transaction may wait long for a lock after it begins.
STATE: Final = _STATE.format(now="statement_timestamp()")
# By transaction time, for several statements that must agree on the time.
STATE_IN_SNAPSHOT: Final = _STATE.format(now="now()")


def code_state_reason(state: str) -> ProblemReason:
    """Why a step is refused that needs another state of a code than this one."""
    reasons: dict[str, ProblemReason] = {
        "pooled": "code_not_attached",
        "attached": "code_attached",
        "held": "code_held",
        "activated": "code_used",
        "expired": "code_expired",
        "deleted": "code_deleted",
    }
    return reasons[state]
