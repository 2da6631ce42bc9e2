"""Reads the figures of all programs with a few statements, none of which reads an answer."""

import json
from collections import defaultdict
from functools import lru_cache
from typing import Final, NamedTuple

from codewell.alert_rules.judge import Figures, Requests
from codewell.alerts.kinds import RULED
from codewell.infra.postgres.connection import Connection
from codewell.pool.block_rules import GIVES, POOLED
from codewell.pool.program_conditions import MAY_CREATE, SWITCHED_ON
from codewell.usage.usage_key import FALLBACK_OUTCOMES
from schemas.alert_rules import DEFAULT_RULES, AlertRule, RuleKind
from schemas.alerts import AlertKind

REQUESTS_MIN: Final = 15
_PROGRAMS_AT_ONCE: Final = 500
_ROUGH_BITS: Final = 5
_WITHIN_DEFAULT: Final = next(one.within for one in DEFAULT_RULES if one.kind == "codes_expire_within")
# What usage counts beside reasons of refusals.
_NO_REFUSALS: Final = ("attached", "reused", "returned", "quarantined", "voided", "activated", *FALLBACK_OUTCOMES)
_GIVEN: Final = ("attached", "reused", *FALLBACK_OUTCOMES)

_PROGRAMS: Final = f"""
    SELECT p.id, p.alerts, statement_timestamp() AS now,
           {SWITCHED_ON} AND (p.valid_until IS NULL OR p.valid_until > statement_timestamp()) AS is_on,
           p.valid_from, p.valid_until, p.shared, {MAY_CREATE} AS is_filled, p.pool_max, level.pooled,
           level.expiring,
           CASE WHEN s.program_id IS NOT NULL THEN s.failures END AS failures, s.error, p.codes_max, p.reservations
    FROM program p LEFT JOIN remote_service s ON s.program_id = p.id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum({POOLED}), 0)::bigint AS pooled, coalesce(sum({POOLED}) FILTER (
            WHERE expires_at <= statement_timestamp() + coalesce(p.min_life_at_attach, interval '0') + coalesce(
                (SELECT (r->>'within')::interval FROM jsonb_array_elements(p.alerts) r
                 WHERE r->>'kind' = 'codes_expire_within'), $1::interval)
            ), 0)::bigint AS expiring
        FROM block WHERE program_id = p.id AND {GIVES}
    ) level
    WHERE p.removed_at IS NULL ORDER BY p.id
    """  # noqa: S608  constants
_REQUESTS: Final = """
    SELECT program_id, outcome, sum(number)::bigint AS number FROM usage_minute
    WHERE minute > statement_timestamp() - make_interval(mins => $1) AND outcome <> ALL ($2::text[])
    GROUP BY program_id, outcome
    """
_RETURNED: Final = """
    WITH returned AS (
        SELECT program_id, sum(number)::bigint AS number FROM return_minute
        WHERE minute > statement_timestamp() - interval '1 hour' GROUP BY program_id)
    SELECT r.program_id, r.number, coalesce((
        SELECT sum(number) FROM usage_minute u WHERE u.program_id = r.program_id AND u.outcome = 'attached'
          AND u.minute > statement_timestamp() - interval '1 hour'), 0)::bigint
    FROM returned r
    """
_STATES: Final = f"""
    SELECT id, program_id, kind, cleared_at IS NULL, details FROM alert
    WHERE over_at IS NULL AND kind IN ({", ".join(f"'{kind}'" for kind in RULED)})
    """  # noqa: S608  constants

Rules = dict[RuleKind, AlertRule]
_DEFAULTS: Final[Rules] = {rule.kind: rule for rule in DEFAULT_RULES}


class ProgramReading(NamedTuple):
    """A program's rules and figures."""

    program_id: int
    rules: Rules
    figures: Figures
    signal: tuple[object, ...]
    """What its forecast depends on beside its requests: another one, another forecast."""

    @property
    def is_quiet(self) -> bool:
        """Whether no rule but that of the forecast can raise an alert: so of most programs, and soon found out."""
        figures = self.figures
        if figures.requests.refused or figures.returned or figures.failures or figures.expiring:
            return False
        return figures.valid_until is None and "pool_below" not in self.rules


class AlertState(NamedTuple):
    """An alert of a rule that is open, or that a person has cleared and whose cause may still be there."""

    id: int
    program_id: int
    kind: AlertKind
    is_open: bool
    details: str


async def read(connection: Connection) -> list[ProgramReading]:
    """The rules and figures of all programs that are not removed, without forecasts. Raises what asyncpg raises."""
    requests = await _requests(connection)
    returned = {row[0]: (row[1], row[2]) for row in await connection.fetch(_RETURNED)}
    none = Requests(0, {})
    found = []
    # A cursor needs a transaction.
    async with connection.transaction():
        async for row in connection.cursor(_PROGRAMS, _WITHIN_DEFAULT, prefetch=_PROGRAMS_AT_ONCE):
            figures = Figures(
                row["now"], row["is_on"], row["valid_from"], row["valid_until"], row["shared"], row["is_filled"],
                row["pool_max"], row["pooled"], row["expiring"], row["failures"], row["error"],
                requests.get(row["id"], none), *returned.get(row["id"], (0, 0)),
            )  # fmt: skip
            signal = (
                _rough(row["pooled"]),
                row["is_on"], row["valid_until"], row["is_filled"], row["codes_max"], row["reservations"],
                bool(row["failures"]),
            )  # fmt: skip
            found.append(ProgramReading(row["id"], _rules(row["alerts"]), figures, signal))
    return found


async def states(connection: Connection) -> dict[tuple[int, AlertKind], AlertState]:
    """The alerts of rules that are not over, by program and kind; of two the open one."""
    rows = [AlertState(*row) for row in await connection.fetch(_STATES)]
    return {(one.program_id, one.kind): one for one in sorted(rows, key=lambda one: one.is_open)}


async def _requests(connection: Connection) -> dict[int, Requests]:
    refused: defaultdict[int, dict[str, int]] = defaultdict(dict)
    number: defaultdict[int, int] = defaultdict(int)
    others = [outcome for outcome in _NO_REFUSALS if outcome not in _GIVEN]
    for program_id, outcome, times in await connection.fetch(_REQUESTS, REQUESTS_MIN, others):
        number[program_id] += times
        if outcome not in _GIVEN:
            refused[program_id][outcome] = times
    return {program_id: Requests(times, refused.get(program_id, {})) for program_id, times in number.items()}


def _rough(number: int) -> int:
    """The number without its lower bits, so that it changes with some percent."""
    low = max(0, number.bit_length() - _ROUGH_BITS)
    return number >> low << low


def _rules(stored: str | None) -> Rules:
    return _DEFAULTS if stored is None else _parsed(stored)


@lru_cache(maxsize=10_000)
def _parsed(stored: str) -> Rules:
    return {rule.kind: rule for rule in map(AlertRule.model_validate, json.loads(stored))}
