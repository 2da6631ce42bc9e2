"""SQL expressions for a code's state, effective expiry and effective custom fields.

They read `block b`, the code's block; `answer a`, its first attachment; and `code_state s`, its later changes. The last
two may have no row. The statement itself must exclude positions whose code has moved to another block (`returned_at`).
"""

from typing import Final

# States that code_state alone determines, so that statements for them need no other table.
DELETED: Final = "s.deleted_at IS NOT NULL"
ACTIVATED: Final = "s.activated_at IS NOT NULL AND s.deleted_at IS NULL"

# A change overrides both. Otherwise an attached code has those of its answer, a pooled code those of its block.
EXPIRES_AT: Final = (
    "(CASE WHEN s.changed THEN s.expires_at WHEN a.block_id IS NULL THEN b.expires_at ELSE a.expires_at END)"
)
FIELDS: Final = "(CASE WHEN s.changed THEN s.fields WHEN a.block_id IS NULL THEN b.fields ELSE a.fields END)"

_STATE: Final = f"""(
    CASE WHEN {DELETED} THEN 'deleted' WHEN {ACTIVATED} THEN 'activated'
         WHEN {EXPIRES_AT} <= {{now}} THEN 'expired' WHEN a.block_id IS NULL THEN 'pooled' ELSE 'attached' END)"""
# By statement time, not transaction time: a transaction may wait long for a lock after it begins.
STATE: Final = _STATE.format(now="statement_timestamp()")
# By transaction time, for several statements that must agree on the time.
STATE_IN_SNAPSHOT: Final = _STATE.format(now="now()")
