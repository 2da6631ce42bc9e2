"""Postgres can run every statement of the library: each is prepared against a migrated database.

Found are the constants of modules that begin as a statement does, the literals that methods of a connection are called
with, and the rules of the audit. What is put together only when it is run is named below.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final
from uuid import UUID

import asyncpg

import codewell
from codewell.archiving import leaving
from codewell.audit.promises import rules
from codewell.codes import export_pieces, listing
from codewell.codes.state import EXPIRES_AT, FIELDS, STATE_IN_SNAPSHOT
from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.pool import fill
from codewell.pool.program_rules import ProgramRules

_VERB: Final = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|SET|LOCK|SHOW|CREATE)\s")
_PLACEHOLDER: Final = re.compile(r"(?<!\{)\{[a-z_]+\}(?!\})")
_METHODS: Final = {"fetch", "fetchrow", "fetchval", "execute", "executemany", "cursor", "copy_from_query"}

# Constants with placeholders, and all that these are given; nothing where whole constants are made of them.
_PAGES: Final = [{"condition": condition} for condition in ("true", *listing._MAY_HOLD.values())]
_EXPORTED: Final = [
    {
        "columns": f"{STATE_IN_SNAPSHOT}, {EXPIRES_AT}, {FIELDS}",
        "spans": "(1::bigint, 0::bigint, 2)",
        "profile": export_pieces._PROFILE,
        "condition": f"{STATE_IN_SNAPSHOT} = 'pooled'",
    }
]
_LEAVING: Final = {"block_id": "1", "first": "0", "end": "9"}
_MAY_LEAVE: Final = leaving._MAY_LEAVE.format(
    positions=leaving._POSITIONS.format(**_LEAVING), ended_before="2026-01-01", oldest=UUID(int=0)
)
_TEMPLATES: Final[dict[str, list[dict[str, str]]]] = {
    "codewell.archiving.filters.NOTE": [{"condition": leaving._POSITIONS.format(**_LEAVING)}],
    "codewell.archiving.leaving._COUNT": [],
    "codewell.archiving.leaving._COUNT_SWEPT": [],
    "codewell.archiving.leaving._DELETE": [
        {
            "condition": _MAY_LEAVE,
            "places": leaving._PLACES.format(**_LEAVING),
            "telling": leaving._TELL,
            "counting": leaving._COUNT.format(**_LEAVING),
        },
        {
            "condition": leaving._REFUSED.format(first=UUID(int=0), end=UUID(int=1)),
            "places": "false",
            "counting": leaving._COUNT_SWEPT.format(end=UUID(int=1)),
            "telling": leaving._TELL_COUNT,
        },
    ],
    "codewell.codes.export_pieces._GIVEN": _EXPORTED,
    "codewell.codes.export_pieces._LISTED": _EXPORTED,
    "codewell.codes.listing._LISTS": _PAGES,
    "codewell.codes.listing._MARKED": [],
    "codewell.codes.listing._OTHERS": [],
    "codewell.codes.listing._RANGES": _PAGES,
    "codewell.codes.listing._LISTS_NEWEST": _PAGES,
    "codewell.codes.listing._RANGES_NEWEST": _PAGES,
    "codewell.codes.listing._OF_PROFILE": [{"side": "<", "order": "DESC"}, {"side": ">", "order": "ASC"}],
    **{f"codewell.codes.listing._POSITIONS[{place}]": [{"order": "ASC"}, {"order": "DESC"}] for place in range(6)},
    "codewell.codes.listing._VOIDED": [{"order": "ASC"}, {"order": "DESC"}],
    "codewell.codes.listing._EXPIRED_ALONE": [{"order": "ASC"}, {"order": "DESC"}],
    "codewell.pool.range_blocks._STORE": [],
    "codewell.usage.reporter._GIVEN": [],
    "codewell.usage.retention._DELETE": [],
}
# Several statements in one, which are run, as Postgres prepares none such. The first makes tables that others read.
_SCRIPTS: Final = ("codewell.recovery.reconciliation._TABLES", "codewell.recovery.reconciliation._INDEX_CODES")
# Calls whose statement is made of what they are given.
_PUT_TOGETHER: Final = {
    "codewell.audit.promises: f'SELECT *, count(*) OVER () AS breaking FROM ({rule.sql}) r LIMIT {ROWS_SHOWN_MAX}'",
    "codewell.codes.lifecycle: f'UPDATE code_state SET {what} WHERE block_id = $1 AND position = $2'",
    "codewell.infra.postgres.migrations: f'DROP INDEX CONCURRENTLY {name}'",
    "codewell.infra.postgres.logins: f\"SELECT format('{what}', $1::text, $2::text, $3::text)\"",
    "codewell.programs.programs: f'INSERT INTO program ({columns}) VALUES ({places}) RETURNING id'",
    "codewell.programs.programs: f'UPDATE program SET {columns} WHERE id = $1'",
}


# Its statements are SQLite's, which the fold of the stream keeps its codes in.
_OF_SQLITE: Final = "codewell.lifecycle.fold_store"


def modules() -> Iterator[ModuleType]:
    """All modules of the library that Postgres runs statements of."""
    for found in pkgutil.walk_packages(codewell.__path__, "codewell."):
        if found.name != _OF_SQLITE:
            yield importlib.import_module(found.name)


def constants(value: object) -> Iterator[str]:
    """The strings of a constant: itself, or its members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from constants(member)
    elif isinstance(value, tuple | list):
        for member in value:
            yield from constants(member)


def literals(module: ModuleType) -> Iterator[tuple[str, str | None]]:
    """Where a statement is written in a call, and the statement; None where only the call knows it."""
    for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=str(sql)), *_]) if (
                method in _METHODS
            ):
                yield f"{module.__name__}: {sql}", sql
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.JoinedStr() as joined, *_]) if method in _METHODS:
                written = ast.unparse(joined)
                try:
                    yield f"{module.__name__}: {written}", eval(written, dict(vars(module)))
                except (NameError, AttributeError):
                    yield f"{module.__name__}: {written}", None


async def refused(connection: Connection, statements: Mapping[str, str]) -> dict[str, str]:
    """Which statements can't be prepared, and why."""
    found = {}
    for where, sql in statements.items():
        try:
            await connection.prepare(sql)
        except asyncpg.PostgresError as error:
            found[where] = str(error)
    return found


async def test_every_constant_can_be_run(connection: Connection) -> None:
    statements: dict[str, str] = {}
    templates: dict[str, str] = {}
    for module in modules():
        for name, value in vars(module).items():
            for number, sql in enumerate(constants(value) if name.isupper() else ()):
                if _VERB.match(sql):
                    kind = templates if _PLACEHOLDER.search(sql) else statements
                    kind[f"{module.__name__}.{name}" + (f"[{number}]" if not isinstance(value, str) else "")] = sql

    assert len(statements) > 120
    assert templates.keys() == _TEMPLATES.keys()
    for name, given in _TEMPLATES.items():
        statements |= {f"{name} {one}": templates[name].format(**one) for one in given}
    for name in _SCRIPTS:
        await connection.execute(statements.pop(name))
    assert await refused(connection, statements) == {}


async def test_every_literal_can_be_run(connection: Connection) -> None:
    found = {where: sql for module in modules() for where, sql in literals(module)}

    assert {where for where, sql in found.items() if sql is None} == _PUT_TOGETHER
    assert await refused(connection, {where: sql for where, sql in found.items() if sql is not None}) == {}


async def test_every_rule_of_the_audit_can_be_run(connection: Connection) -> None:
    assert await refused(connection, {rule.says: rule.sql for rule in rules()}) == {}


async def test_the_rules_of_a_program_have_their_columns_in_order(connection: Connection) -> None:
    alone = await connection.prepare(fill._PROGRAM)
    claimed = await connection.prepare(claim_queries._LOCK)

    fields = [column.name for column in alone.get_attributes()]
    assert fields == list(ProgramRules._fields)
    assert [column.name for column in claimed.get_attributes()][claim_queries._RULES :] == fields
