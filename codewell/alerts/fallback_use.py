"""What reports codes that fallbacks gave, beside the usage: a metric, and an alert at most once an hour."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter as Metric

from codewell.alerts.alerts import raise_alert
from codewell.infra.postgres.connection import Connection
from codewell.usage.tally import UsageRow
from codewell.usage.usage_key import FALLBACK_OUTCOMES

FALLBACKS: Final = Metric(
    "codewell_fallbacks", "Codes that a fallback gave, by the program that was asked and the number of the fallback.",
    ["program", "link"],
)  # fmt: skip

_PROGRAMS: Final = """
    SELECT id, name, fallback, alerts IS NULL OR alerts @> '[{"kind": "fallback_used"}]' AS alerts
    FROM program WHERE id = ANY ($1::bigint[])
    """
_IS_DUE: Final = """
    SELECT NOT EXISTS (
        SELECT FROM alert WHERE program_id = $1 AND kind = 'fallback-used' AND key = $2
          AND last_at > now() - interval '1 hour')
    """


async def note_fallbacks(connection: Connection, rows: Sequence[UsageRow]) -> None:
    """Count these rows of usage, as far as they are of fallbacks, and raise alerts. Raises what asyncpg raises.

    A fallback's first code in an hour raises the alert of its program; one that is open is counted then.
    """
    given: Counter[tuple[int, int]] = Counter()
    for row in rows:
        if row.outcome in FALLBACK_OUTCOMES:
            given[row.program_id, FALLBACK_OUTCOMES.index(row.outcome) + 1] += row.number
    if not given:
        return
    found = await connection.fetch(_PROGRAMS, list({id_ for id_, _ in given}))
    programs = {row["id"]: row for row in found}
    for (id_, link), number in sorted(given.items()):
        FALLBACKS.labels(programs[id_]["name"], link).inc(number)
        # The list may have changed since.
        fallback = dict(enumerate(programs[id_]["fallback"], start=1)).get(link, "")
        if programs[id_]["alerts"] and await connection.fetchval(_IS_DUE, id_, fallback):
            details = {"fallback": fallback, "link": link, "codes": number}
            await raise_alert(connection, id_, "fallback-used", fallback, details)
