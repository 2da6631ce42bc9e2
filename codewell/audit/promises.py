"""Check the promises on a live database, in one snapshot. The rules are in `promises.sql`, which psql runs too."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from codewell.infra.postgres.connection import Connection

FILE: Final = Path(__file__).with_name("promises.sql")
ROWS_SHOWN_MAX: Final = 10
_TIMEOUT_S: Final = 3_600

# Of the file: a variable of psql's, with one value in quotes; where it stands, as it is or quoted; and a rule.
_SET: Final = re.compile(r"^\\set (\w+) '(.*)'$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"(?<!:):('?)(\w+)\1")
_RULE: Final = re.compile(r"^-- name: (I\d) (.+)\n([^;]+);$", re.MULTILINE)


class AuditRule(NamedTuple):
    """One thing that must never be: the promise it breaks, a sentence, and the statement that finds its rows."""

    promise: str
    says: str
    sql: str


class Finding(NamedTuple):
    """How many rows break a rule, and the first of them."""

    rule: AuditRule
    breaking: int
    rows: list[dict[str, Any]]


@cache
def rules() -> tuple[AuditRule, ...]:
    """All rules, in the order of the file, as statements that need nothing of psql's."""
    text = FILE.read_text()
    variables = {name: value.replace("''", "'") for name, value in _SET.findall(text)}
    return tuple(AuditRule(promise, says, _filled_in(sql, variables)) for promise, says, sql in _RULE.findall(text))


def _filled_in(sql: str, variables: dict[str, str]) -> str:
    """The statement with the values of its variables, which may contain variables themselves."""

    def value(match: re.Match[str]) -> str:
        quote, name = match.groups()
        return f"{quote}{_filled_in(variables[name], variables)}{quote}"

    return _VARIABLE.sub(value, sql)


async def audit(connection: Connection) -> list[Finding]:
    """Check all rules in one snapshot and return what breaks them; an empty list is a clean bill."""
    findings = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for rule in rules():
            rows = await connection.fetch(
                f"SELECT *, count(*) OVER () AS breaking FROM ({rule.sql}) r LIMIT {ROWS_SHOWN_MAX}",  # noqa: S608  from the file
                timeout=_TIMEOUT_S,
            )
            if rows:
                shown = [{key: value for key, value in row.items() if key != "breaking"} for row in rows]
                findings.append(Finding(rule, rows[0]["breaking"], shown))
    return findings
