"""The migrations, and the schema of a migrated database."""

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import asyncpg

from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import load_migrations, migrate
from services.standalone.home import Home
from services.standalone.postgres import PostgresServer
from tests.support.postgres_settings import FOR_TESTS

FILE: Final = "database/schema.txt"
_OURS: Final = "n.nspname = 'public'"
_NOT_OF_AN_EXTENSION: Final = "NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')"
_GRANTEE: Final = "coalesce(g.rolname, 'PUBLIC')"
# By section; each row of each query is one line.
_QUERIES: Final = {
    "relations": f"""SELECT format('%s %s %s', c.relname, c.relkind::text,
            coalesce(array_to_string(c.reloptions, ','), '-'))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS} AND c.relkind <> 'i'""",
    "columns": f"""SELECT format('%s.%s %s%s%s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN ' NOT NULL' END, ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid),
            CASE WHEN a.attidentity <> '' THEN ' IDENTITY ' || a.attidentity::text END,
            CASE WHEN a.attgenerated <> '' THEN ' GENERATED' END)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE {_OURS} AND c.relkind IN ('r', 'v', 'm', 'p') AND a.attnum > 0 AND NOT a.attisdropped""",
    # Servers from version 18 on list NOT NULL among them, which the columns have already.
    "constraints": f"""SELECT format('%s %s: %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS} AND k.contype <> 'n'""",
    "indexes": f"""SELECT pg_get_indexdef(i.indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OURS}""",
    "triggers": f"""SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS} AND NOT t.tgisinternal""",
    "functions": f"""SELECT format('%s(%s) returns %s, security definer %s, %s, sha256 of the body %s', p.proname,
            pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), p.prosecdef,
            coalesce(array_to_string(p.proconfig, ';'), '-'), encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OURS} AND {_NOT_OF_AN_EXTENSION}""",
    "extensions": "SELECT extname FROM pg_extension",
    # What the owner may do depends on the name of the user that migrated.
    "grants on tables": f"""SELECT format('%s %s: %s', {_GRANTEE}, c.relname,
            string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type COLLATE "C"))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN aclexplode(c.relacl) x
        LEFT JOIN pg_roles g ON g.oid = x.grantee WHERE {_OURS} AND x.grantee <> c.relowner
        GROUP BY g.rolname, c.relname""",
    "grants on columns": f"""SELECT format('%s %s: %s (%s)', {_GRANTEE}, c.relname, x.privilege_type,
            string_agg(a.attname, ', ' ORDER BY a.attname))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN aclexplode(a.attacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
        WHERE {_OURS} AND NOT a.attisdropped AND x.grantee <> c.relowner
        GROUP BY g.rolname, c.relname, x.privilege_type""",
    "grants on functions": f"""SELECT format('%s %s: %s', {_GRANTEE}, p.proname, x.privilege_type)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
        LEFT JOIN pg_roles g ON g.oid = x.grantee WHERE {_OURS} AND {_NOT_OF_AN_EXTENSION}
            AND x.grantee <> p.proowner""",
    "grants on the schema": f"""SELECT format('%s: %s', {_GRANTEE}, x.privilege_type)
        FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) x
        LEFT JOIN pg_roles g ON g.oid = x.grantee WHERE {_OURS} AND x.grantee <> n.nspowner""",
    "roles": """SELECT format('%s login %s, superuser %s, bypasses row security %s, inherits %s',
            rolname, rolcanlogin, rolsuper, rolbypassrls, rolinherit)
        FROM pg_roles WHERE rolname IN ('codewell_issuer', 'codewell_generator', 'codewell_console',
            'codewell_auditor')""",
    "types": f"""SELECT format('%s %s', t.typname, t.typtype::text) FROM pg_type t
        JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {_OURS} AND t.typtype IN ('d', 'e')""",
}


def files() -> dict[str, str]:
    """What needs no server: the migrations, which nobody may change once they are applied somewhere."""
    lines = [f"{sha256(one.sql.encode()).hexdigest()}  {one.name}" for one in load_migrations()]
    return {"database/migrations.txt": "\n".join(lines) + "\n"}


async def schema(connection: Connection) -> dict[str, str]:
    """All that a migrated database has."""
    sections = []
    for name, query in _QUERIES.items():
        rows = sorted(row[0] for row in await connection.fetch(query))
        sections.append("\n".join([f"[{name}]", *rows]))
    return {FILE: "\n\n".join(sections) + "\n"}


async def schema_of_a_fresh_server() -> dict[str, str]:
    """The same, from a server that is started for it and ended again."""
    with TemporaryDirectory() as path:
        home = await Home.open(Path(path))
        server = PostgresServer(home, FOR_TESTS)
        try:
            opened = await asyncpg.connect(await server.start())
            try:
                await migrate(opened)
                return await schema(opened)
            finally:
                await opened.close()
        finally:
            await server.stop()
            home.close()
