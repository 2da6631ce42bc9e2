"""SQL conditions and expressions over a program's rules, for statements that read `program p`.

They repeat `program_rules` in SQL. All use statement time, because a statement may run long after its transaction
began.
"""

from typing import Final

SWITCHED_ON: Final = "(p.active AND p.removed_at IS NULL)"

# Has no upper bound: codes may be activated after the validity period too.
MAY_ACTIVATE: Final = f"({SWITCHED_ON} AND (p.valid_from IS NULL OR p.valid_from <= statement_timestamp()))"
GIVES_CODES_NOW: Final = f"({MAY_ACTIVATE} AND (p.valid_until IS NULL OR p.valid_until > statement_timestamp()))"

# How often a code may be used, in all and by one profile; null: no limit. Each profile of a shared code may use it.
USES_PER_CODE: Final = """
    (CASE WHEN p.uses IS NOT NULL THEN (p.uses->>'per_code')::integer WHEN NOT p.shared THEN 1 END)
    """.strip()
USES_PER_PROFILE: Final = "(CASE WHEN p.uses IS NULL THEN 1 ELSE (p.uses->>'per_profile')::integer END)"

# Whether at least one source may have codes made automatically.
MAY_CREATE: Final = "(p.source->>'kind' <> 'import' AND (p.campaign_can_create OR p.scenario_can_create))"

# Codes that count against the maximum, and how many more it allows.
COUNTED: Final = "(p.made + p.imported + p.on_order)"
ROOM: Final = f"(p.codes_max - {COUNTED})"

# Up to how many codes generators fill the pool. A shared program needs one code, and none while its shared code lives
# for longer than until the next sweep but one, so that its lifetime does not use up the maximum.
MARK: Final = """
    (CASE WHEN NOT p.shared THEN p.pool_max WHEN EXISTS (
        SELECT FROM holding h WHERE h.program_id = p.id AND h.profile_id = '' AND h.scope = '' AND (
            h.expires_at IS NULL
            OR h.expires_at > statement_timestamp() + coalesce(p.min_life_at_attach, interval '0') + interval '120 s')
     ) THEN 0 ELSE 1 END)
    """.strip()

# Codes on order for the pool: those that reservations wait for don't come into it.
ON_ORDER: Final = """
    (CASE WHEN p.reservations = 0 THEN p.on_order ELSE greatest(0, p.on_order - (
        SELECT coalesce(sum(r.on_order), 0) FROM reservation r
        WHERE r.program_id = p.id AND r.ended_at IS NULL))::bigint END)
    """.strip()

# The fields of ProgramRules in their order; {pooled} is a placeholder.
_RULES: Final = f"""
    p.id, p.name, {SWITCHED_ON} AS active, p.valid_from, p.valid_until, p.campaign_can_create, p.scenario_can_create,
    p.shared, p.reuse, p.ttl, p.ttl_from, {ROOM} AS room, {MARK} AS pool_max, {{pooled}} AS pooled,
    p.version, p.codes_max, p.source->>'kind' AS codes_from, {ON_ORDER} AS on_order, p.min_life_at_attach,
    CASE WHEN p.fallback <> '{{{{}}}}' THEN json_build_array(
        p.fallback, p.fallback_on, extract(epoch FROM p.fallback_after))::text END AS fallback,
    p.reservations > 0 AS has_reservations
    """
RULES: Final = _RULES.format(pooled="0::bigint")
RULES_WITH_POOLED: Final = _RULES.format(pooled="level.pooled")
