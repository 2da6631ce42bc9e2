"""Each service's role may do what is written here, and nothing else: every verb on every column of every table."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from codewell.audit.audit_log import verify
from codewell.audit.promises import audit
from codewell.errors import SchemaMismatch, SettingsInvalid
from codewell.infra.postgres import logins, migrations
from codewell.infra.postgres.connection import Connection
from codewell.infra.postgres.migrations import check_schema, migrate
from codewell.pool.minter_cache import Minters
from tests.support.factories import program
from tests.support.servers import with_database

PASSWORD: Final = "a-password-for-tests-only"
ROLES: Final = logins.ROLES

_SETTINGS: Final = """title description groups active valid_from valid_until source scenario_can_create
    campaign_can_create shared auto_link codes_max pool_max ttl ttl_from fields reuse allow_guessable"""

# Role and table: S, I and U of all columns or of those named behind them, and D of rows.
MAY: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "issuer": {
        "migration": ("S",),
        "program": ("S", "U made"),
        "template_version": ("S", "U next_number skipped"),
        "block": (
            "S", "I program_id kind version first size expires_at fields origin source created_at",
            "U next attached holes open",
        ),
        "code": ("S",),
        "code_state": ("S",),
        "answer": ("S", "I"),
        "holding": ("S", "I", "U"),
    },
    "generator": {
        "migration": ("S",),
        "program": ("S", "U made on_order"),
        "template_version": ("S", "U next_number skipped"),
        "block": ("S", "I", "U size open"),
        "code": ("S", "I"),
        "answer": ("S profile_id answered_at", "U profile_id"),
        "holding": ("S program_id profile_id", "D"),
        "idempotency": ("S body", "U body"),
        "profile": ("S", "I", "U", "D"),
        "remote_request": (
            "S", "I", "U state attempts refused next_attempt_at leased_until received error finished_at",
        ),
        "remote_secret": ("S", "I"),
        "remote_service": ("S", "U failures rest_until error error_at"),
    },
    "console": {
        "migration": ("S",),
        "program": (
            "S", f"I name {_SETTINGS}", f"U {_SETTINGS} removed_at version made imported on_order changing",
        ),
        "template_version": ("S", "I", "U next_number skipped"),
        "block": ("S", "I", "U size next attached deleted returned undone holes open"),
        "code": ("S", "I", "U block_id position", "D"),
        "code_state": ("S", "I", "U activated_at deleted_at returned_at hole changed expires_at fields"),
        "answer": ("S", "I", "U profile_id"),
        "holding": ("S", "I", "U", "D"),
        "idempotency": ("S", "I", "U body", "D"),
        "import": ("S", "I", "U state uploaded rows_read imported attached taken_back bad error ended_at"),
        "import_bad_row": ("S", "I"),
        "import_piece": ("S", "I", "D"),
        "profile": ("S", "I", "U", "D"),
        "remote_request": ("S", "I"),
        "remote_secret": ("S", "I", "U ends_at"),
        "remote_service": ("S", "I"),
        "token": ("S", "U last_used"),
        "token_miss": ("S", "I", "U"),
        "audit_entry": ("I via actor verb program details",),
    },
    "auditor": {
        "migration": ("S",),
        "program": ("S",),
        "program_history": ("S",),
        "template_version": ("S program_id version next_number skipped",),
        "block": ("S",),
        "code": ("S",),
        "code_state": ("S",),
        "answer": ("S",),
        "holding": ("S",),
        "import": ("S",),
        "remote_request": ("S",),
        "audit_entry": ("S",),
        "audit_chain": ("S",),
    },
}  # fmt: skip

# An identity is refused before rights are looked at.
_IDENTITIES: Final = {
    ("program", "id"), ("block", "id"), ("program_history", "id"), ("token", "id"), ("remote_secret", "id"),
    ("audit_entry", "id"),
}  # fmt: skip

# Each touches no row, and is refused or let through before it would look for one.
_STATEMENTS: Final = {
    "S": "SELECT {column} FROM {table} WHERE false",
    "I": "INSERT INTO {table} ({column}) SELECT NULL WHERE false",
    "U": "UPDATE {table} SET {column} = NULL WHERE false",
    "D": "DELETE FROM {table} WHERE false",
    "T": "TRUNCATE {table} CASCADE",
}

_COLUMNS: Final = """
    SELECT c.relname AS "table", array_agg(a.attname::text ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') GROUP BY 1
    """


@pytest.fixture
async def users(connection: Connection) -> AsyncIterator[dict[str, str]]:
    """A user of each role, as operators make them."""
    names = {role: f"{role}_{uuid4().hex[:8]}" for role in ROLES}
    for role, name in names.items():
        await logins.create_login(connection, role, name, PASSWORD)
    yield names
    for name in names.values():
        await connection.execute(f"DROP ROLE {name}")


def url_of(url: str, user: str, password: str = PASSWORD) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{password}@{rest.partition('@')[2]}"


def allowed(role: str, table: str, columns: list[str]) -> set[tuple[str, str]]:
    found = set()
    for entry in MAY[role].get(table, ()):
        verb, *named = entry.split()
        assert set(named) <= set(columns), f"{table} has no such columns: {named}"
        found |= {(verb, column) for column in (["-"] if verb == "D" else named or columns)}
    return found


async def is_refused(connection: Connection, statement: str) -> bool:
    """Whether the database says 42501. What is let through is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    else:
        return False
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_what_its_service_needs_and_nothing_else(
    connection: Connection, database_url: str, users: dict[str, str], role: str
) -> None:
    tables = {row["table"]: row["columns"] for row in await connection.fetch(_COLUMNS)}
    assert MAY[role].keys() <= tables.keys()
    own = await asyncpg.connect(url_of(database_url, users[role]))
    wrong = []
    try:
        for table, columns in tables.items():
            may = allowed(role, table, columns)
            asked = [(verb, column) for verb in "SIU" for column in columns] + [("D", "-"), ("T", "-")]
            for verb, column in asked:
                statement = _STATEMENTS[verb].format(table=f'"{table}"', column=f'"{column}"')
                if verb in "IU" and (table, column) in _IDENTITIES:
                    continue
                if await is_refused(own, statement) == ((verb, column) in may):
                    wrong.append(statement)
    finally:
        await own.close()
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_makes_nothing_changes_no_schema_and_reads_no_file(
    database_url: str, users: dict[str, str], role: str
) -> None:
    own = await asyncpg.connect(url_of(database_url, users[role]))
    try:
        for statement in (
            "CREATE TABLE more (id int)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE SCHEMA more",
            "CREATE ROLE more",
            "ALTER TABLE answer DISABLE TRIGGER ALL",
            "DROP TABLE answer",
            "DROP INDEX answer_code_once",
            "ALTER TABLE answer DROP CONSTRAINT answer_once",
            "SELECT note_program_settings()",
            "SET session_replication_role = replica",
            "COPY program FROM '/etc/passwd'",
            "COPY program TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
        ):
            assert await is_refused(own, statement), statement
        for other in set(ROLES) - {role}:
            assert await is_refused(own, f"SET ROLE codewell_{other}"), other
    finally:
        await own.close()


async def test_the_history_of_programs_is_written_for_a_console_that_may_not_write_it(
    connection: Connection, database_url: str, users: dict[str, str], minters: Minters
) -> None:
    own = await asyncpg.connect(url_of(database_url, users["console"]))
    try:
        made = await program(own, minters)
        await own.execute("UPDATE program SET active = false WHERE id = $1", made.id)
    finally:
        await own.close()
    assert await connection.fetchval("SELECT count(*) FROM program_history") == 2


async def test_where_the_trigger_looks_for_tables_is_not_for_its_caller_to_say(
    connection: Connection, database_url: str, users: dict[str, str], minters: Minters
) -> None:
    own = await asyncpg.connect(url_of(database_url, users["console"]))
    try:
        await own.execute("CREATE TEMP TABLE program_history (program_id bigint)")
        await program(own, minters)
    finally:
        await own.close()
    assert await connection.fetchval("SELECT count(*) FROM program_history") == 1


async def test_an_auditor_can_check_the_promises(
    connection: Connection, database_url: str, users: dict[str, str], minters: Minters
) -> None:
    await program(connection, minters)
    own = await asyncpg.connect(url_of(database_url, users["auditor"]))
    try:
        await check_schema(own)
        assert await audit(own) == []
        assert (await verify(own)).wrong is None
    finally:
        await own.close()


async def test_the_public_may_run_none_of_our_functions(connection: Connection) -> None:
    rows = await connection.fetch(
        "SELECT proname FROM pg_proc p WHERE pronamespace = 'public'::regnamespace "
        "AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e') "
        "AND has_function_privilege('public', p.oid, 'EXECUTE')"
    )
    assert rows == []


async def test_a_user_gets_another_password_and_nobody_elses_is_taken(
    connection: Connection, database_url: str, users: dict[str, str]
) -> None:
    name = users["issuer"]
    await logins.create_login(connection, "issuer", name, f"{PASSWORD}-2")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url_of(database_url, name))
    await (await asyncpg.connect(url_of(database_url, name, f"{PASSWORD}-2"))).close()
    owner = await connection.fetchval("SELECT current_user")
    both = f"{name}_both"
    await logins.create_login(connection, "issuer", both, PASSWORD)
    await connection.execute(f"GRANT codewell_console TO {both}")
    refused = (("issuer", owner), ("console", name), ("issuer", both))
    for role, user in refused:
        with pytest.raises(SettingsInvalid, match="choose another name"):
            await logins.create_login(connection, role, user, PASSWORD)
    with pytest.raises(SettingsInvalid, match="at least 16 ASCII characters"):
        await logins.create_login(connection, "issuer", name, "short")
    await connection.execute(f"DROP ROLE {both}")


async def test_a_password_is_in_no_log_of_the_server(
    connection: Connection, database_url: str, postgres_log: Path
) -> None:
    name = f"logged_{uuid4().hex[:8]}"
    secret = f"secret-{uuid4().hex}"
    await connection.execute("SET log_statement = 'all'")
    await logins.create_login(connection, "issuer", name, secret)
    await connection.execute(f"DROP ROLE {name}")
    log = postgres_log.read_text()
    assert name in log
    assert secret not in log


_GIVEN: Final = """
    SELECT grantee, table_name, column_name, privilege_type FROM information_schema.column_privileges
    WHERE grantee ^@ 'codewell_'
    UNION ALL SELECT grantee, table_name, NULL, privilege_type FROM information_schema.table_privileges
    WHERE grantee ^@ 'codewell_' ORDER BY 1, 2, 3, 4
    """


async def test_migrate_gives_rights_back_that_were_lost(connection: Connection) -> None:
    before = await connection.fetch(_GIVEN)
    assert await migrate(connection) == []
    for role in ROLES:
        await connection.execute(f"DROP OWNED BY codewell_{role}")
    await connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    await connection.execute("GRANT EXECUTE ON FUNCTION note_program_settings() TO PUBLIC")
    assert await connection.fetch(_GIVEN) == []

    assert await migrate(connection) == [migrations.ROLES]
    assert await connection.fetch(_GIVEN) == before
    assert not await connection.fetchval("SELECT has_schema_privilege('codewell_issuer', 'public', 'CREATE')")
    assert not await connection.fetchval(
        "SELECT has_function_privilege('public', 'note_program_settings()', 'EXECUTE')"
    )
    assert await migrate(connection) == []


async def test_a_user_can_not_be_made_before_the_roles_are_there(connection: Connection) -> None:
    with pytest.raises(SchemaMismatch, match=r"no role codewell_missing \(as after a restore\): run codewell migrate"):
        await logins.create_login(connection, "missing", "somebody", PASSWORD)


@pytest.fixture
async def migrator(postgres_url: str) -> AsyncIterator[tuple[str, str]]:
    """A database whose owner is no superuser and may make no roles: its name, and the owner's URL."""
    name = f"poor_{uuid4().hex[:8]}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await server.execute(f"CREATE DATABASE {name} OWNER {name}")
    try:
        yield name, url_of(with_database(postgres_url, name), name)
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"DROP ROLE {name}")
        await server.close()


async def test_a_migrator_that_may_make_no_roles_goes_on_where_they_are_there(
    connection: Connection, migrator: tuple[str, str]
) -> None:
    own = await asyncpg.connect(migrator[1])
    try:
        assert await migrate(own)
        await check_schema(own)
        assert await own.fetchval("SELECT has_table_privilege('codewell_issuer', 'answer', 'INSERT')")
        with pytest.raises(SettingsInvalid, match="may not create users"):
            await logins.create_login(own, "issuer", "more", PASSWORD)
    finally:
        await own.close()


async def test_a_user_without_a_role_is_told_so(connection: Connection, migrator: tuple[str, str]) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"SET LOCAL ROLE {migrator[0]}")
    with pytest.raises(SettingsInvalid, match="no rights on the schema: create one with codewell login"):
        await check_schema(connection)
    await transaction.rollback()


async def test_a_migrator_that_may_make_no_roles_is_told_what_to_run(
    migrator: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The roles are this cluster's, and others use them: the migration looks for ones that nobody has.
    renamed = migrations.load_roles().replace("codewell_", "missing_")
    monkeypatch.setattr(migrations, "load_roles", lambda: renamed)
    own = await asyncpg.connect(migrator[1])
    try:
        with pytest.raises(SchemaMismatch, match="As a superuser run: CREATE ROLE missing_issuer;"):
            await migrate(own)
        assert await own.fetchval("SELECT to_regclass('program') IS NULL")
    finally:
        await own.close()
