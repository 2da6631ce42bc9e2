"""SQL conditions and expressions over a program's rules, for statements that read `program p`.

They repeat `program_rules` in SQL. All use statement time, because a statement may run long after its transaction
began.
"""

from typing import Final

SWITCHED_ON: Final = "(p.active AND p.removed_at IS NULL)"

# Has no upper bound: codes may be activated after the validity period too.
MAY_ACTIVATE: Final = f"({SWITCHED_ON} AND (p.valid_from IS NULL OR p.valid_from <= statement_timestamp()))"
GIVES_CODES_NOW: Final = f"({MAY_ACTIVATE} AND (p.valid_until IS NULL OR p.valid_until > statement_timestamp()))"

# Whether at least one source may have codes made automatically.
MAY_CREATE: Final = "(p.source->>'kind' <> 'import' AND (p.campaign_can_create OR p.scenario_can_create))"

# Codes that count against the maximum, and how many more it allows.
COUNTED: Final = "(p.made + p.imported + p.on_order)"
ROOM: Final = f"(p.codes_max - {COUNTED})"

# The fields of ProgramRules in their order; {pooled} is a placeholder.
_RULES: Final = f"""
    p.id, p.name, {SWITCHED_ON} AS active, p.valid_from, p.valid_until, p.campaign_can_create, p.scenario_can_create,
    p.shared, p.reuse, p.ttl, p.ttl_from, {ROOM} AS room, p.pool_max, {{pooled}} AS pooled, p.version, p.codes_max,
    p.source->>'kind' AS codes_from, p.on_order
    """
RULES: Final = _RULES.format(pooled="0::bigint")
RULES_WITH_POOLED: Final = _RULES.format(pooled="level.pooled")
