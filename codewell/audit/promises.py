"""Checks the promises (invariants) I1 to I6, I9 and I10 on a live database in one snapshot.

psql can run the rules in `promises.sql` too.
"""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection

FILE: Final = Path(__file__).with_name("promises.sql")
ROWS_SHOWN_MAX: Final = 10
_TIMEOUT_S: Final = 3_600

# Syntax of the file: a psql variable with one quoted value; a use of a variable, plain or quoted; a rule.
_SET: Final = re.compile(r"^\\set (\w+) '(.*)'$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"(?<!:):('?)(\w+)\1")
_RULE: Final = re.compile(r"^-- name: (I\d+) (.+)\n([^;]+);$", re.MULTILINE)


class AuditRule(NamedTuple):
    """A rule: its promise (I1, I10), the sentence that describes a breach, and the query that finds breaches."""

    promise: str
    says: str
    sql: str


class Finding(NamedTuple):
    """Number of rows that break a rule, and the first ROWS_SHOWN_MAX of them."""

    rule: AuditRule
    breaking: int
    rows: list[dict[str, Any]]


@cache
def rules() -> tuple[AuditRule, ...]:
    """All rules in the order of the file, with the psql variables expanded."""
    text = FILE.read_text()
    variables = {name: value.replace("''", "'") for name, value in _SET.findall(text)}
    return tuple(AuditRule(promise, says, _filled_in(sql, variables)) for promise, says, sql in _RULE.findall(text))


def _filled_in(sql: str, variables: dict[str, str]) -> str:
    """The statement with its variables expanded recursively."""

    def value(match: re.Match[str]) -> str:
        quote, name = match.groups()
        return f"{quote}{_filled_in(variables[name], variables)}{quote}"

    return _VARIABLE.sub(value, sql)


async def audit(connection: Connection, progress: Callable[[int], Awaitable[None]] | None = None) -> list[Finding]:
    """Check all rules in one snapshot and return the broken ones; an empty list means that all promises hold.

    `progress` is called with the number of rules that are checked.
    """
    findings = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for done, rule in enumerate(rules()):
            if progress is not None:
                await progress(done)
            rows = await connection.fetch(
                f"SELECT *, count(*) OVER () AS breaking FROM ({rule.sql}) r LIMIT {ROWS_SHOWN_MAX}",  # noqa: S608  from the file
                timeout=_TIMEOUT_S,
            )
            if rows:
                shown = [{key: value for key, value in row.items() if key != "breaking"} for row in rows]
                findings.append(Finding(rule, rows[0]["breaking"], shown))
    return findings
