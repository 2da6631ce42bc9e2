"""The state of a code, and what counts as its expiry and its custom fields, as expressions for statements.

They read `block b`, where the code is; `answer a`, by which it was first attached, and `code_state s`, what became of
it since: of both there may be no row. A place whose code went on in another block (`returned_at`) is for the statement
to leave out.
"""

from typing import Final

# The states that leave a mark; statements that look for them alone need no more than code_state.
DELETED: Final = "s.deleted_at IS NOT NULL"
ACTIVATED: Final = "s.activated_at IS NOT NULL AND s.deleted_at IS NULL"

# An attached code has an expiry and fields of its own; a pooled one has those of its block.
EXPIRES_AT: Final = (
    "(CASE WHEN s.changed THEN s.expires_at WHEN a.block_id IS NULL THEN b.expires_at ELSE a.expires_at END)"
)
FIELDS: Final = "(CASE WHEN s.changed THEN s.fields WHEN a.block_id IS NULL THEN b.fields ELSE a.fields END)"

_STATE: Final = f"""(
    CASE WHEN {DELETED} THEN 'deleted' WHEN {ACTIVATED} THEN 'activated'
         WHEN {EXPIRES_AT} <= {{now}} THEN 'expired' WHEN a.block_id IS NULL THEN 'pooled' ELSE 'attached' END)"""
# By the clock of the statement, not of the transaction, which may have begun long before a lock that it waited for.
STATE: Final = _STATE.format(now="statement_timestamp()")
# For several statements that have to show the same moment.
STATE_IN_SNAPSHOT: Final = _STATE.format(now="now()")
