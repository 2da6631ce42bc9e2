"""Rules of migrations from the first one on that may meet a running release: CONTRIBUTING.md says why."""

import re
from typing import Final

import pytest

from codewell.infra.postgres.migration_files import Migration, load_migrations

# Those before are of the first release: no earlier one runs beside them.
FIRST_RULED: Final = 46
_KINDS: Final = r"(CHECK|UNIQUE(?! INDEX)|REFERENCES|FOREIGN KEY|EXCLUDE)\b"
_CONSTRAINT: Final = re.compile(rf"\b{_KINDS}")
# FOREIGN KEY is the kind of what REFERENCES follows.
_NAMED: Final = re.compile(rf"\bCONSTRAINT\s+\w+\s+(FOREIGN KEY[^;,]*REFERENCES\b|{_KINDS})")
_STATEMENT: Final = re.compile(r"ALTER TABLE[^;]*")


def without_texts(sql: str) -> str:
    """Without comments, bodies of functions and texts."""
    return re.sub(r"\$\$.*?\$\$|'[^']*'|--[^\n]*", " ", sql, flags=re.DOTALL)


def statements(sql: str) -> str:
    """Without what is in parentheses either."""
    bare = without_texts(sql)
    while (less := re.sub(r"\([^()]*\)", " ", bare)) != bare:
        bare = less
    return bare


def faults(migration: Migration) -> list[str]:
    """What breaks a rule."""
    found = []
    if not migration.sql.startswith("-- min_worker: "):
        found.append("the first line says no min_worker")
    elif not 0 < migration.min_worker <= migration.number:
        found.append("min_worker is no migration before it")
    if "CONCURRENTLY" in migration.sql and migration.concurrent_index is None:
        found.append("CONCURRENTLY needs a file with one CREATE INDEX of a name, and no other statement")
    bare = statements(migration.sql)
    if any("," in statement for statement in _STATEMENT.findall(bare)):
        found.append("an ALTER TABLE has more than one sub-command")
    if _CONSTRAINT.search(_NAMED.sub("", without_texts(migration.sql))):
        found.append("a constraint has no name")
    return found


def test_no_two_have_one_number_and_names_say_more_than_a_number() -> None:
    names = [migration.name for migration in load_migrations()]
    assert len({migration.number for migration in load_migrations()}) == len(names)
    assert all(len(name) > len("0001_.sql") for name in names)


def test_migrations_that_meet_a_running_release_keep_the_rules() -> None:
    found = {migration.name: faults(migration) for migration in load_migrations() if migration.number >= FIRST_RULED}
    assert {name: broken for name, broken in found.items() if broken} == {}


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("CREATE TABLE x (id bigint PRIMARY KEY);", "says no min_worker"),
        ("-- min_worker: 51\nSELECT 1;", "no migration before"),
        ("-- min_worker: 49\nALTER TABLE x ADD COLUMN a int, ADD COLUMN b int;", "more than one sub-command"),
        ("-- min_worker: 49\nALTER TABLE x ADD COLUMN a int CHECK (a > 0);", "has no name"),
        ("-- min_worker: 49\nCREATE TABLE y (x bigint NOT NULL REFERENCES x);", "has no name"),
        ("-- min_worker: 49\nCREATE INDEX CONCURRENTLY i ON x (a);\nSELECT 1;", "CONCURRENTLY needs"),
        ("-- min_worker: 49\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON x (a);", "CONCURRENTLY needs"),
        ("-- min_worker: 49\nDROP INDEX CONCURRENTLY i;", "CONCURRENTLY needs"),
    ],
)
def test_a_fault_is_found(sql: str, fault: str) -> None:
    [found] = faults(Migration(50, "0050_x.sql", sql))
    assert fault in found


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE x ADD COLUMN a numeric(9, 2) NOT NULL DEFAULT 0;\nALTER TABLE x ADD COLUMN b text; -- a, b",
        """CREATE TABLE y (id bigint PRIMARY KEY, a int CONSTRAINT y_a CHECK (a IN (1, 2)),
               x bigint CONSTRAINT y_x REFERENCES x, CONSTRAINT y_once UNIQUE (a, x));
           CREATE UNIQUE INDEX y_by_a ON y (a, x);
           ALTER TABLE y ADD CONSTRAINT y_more FOREIGN KEY (a) REFERENCES z NOT VALID;""",
        "-- Why.\nCREATE UNIQUE INDEX CONCURRENTLY i ON x (a, lower(b)) WHERE a > 0;\n",
    ],
)
def test_what_keeps_the_rules_is_no_fault(sql: str) -> None:
    assert faults(Migration(50, "0050_x.sql", f"-- min_worker: 49\n{sql}")) == []


def test_a_file_that_says_nothing_needs_workers_that_know_it() -> None:
    assert {one.min_worker - one.number for one in load_migrations() if one.number < FIRST_RULED} == {0}
