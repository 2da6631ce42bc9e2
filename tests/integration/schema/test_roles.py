"""Each service's role may do what is written here, and nothing else: every verb on every column of every table."""

import json
from collections.abc import AsyncIterator, Sequence
from itertools import product
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
    campaign_can_create shared auto_link codes_max pool_max ttl ttl_from min_life_at_attach
    fields reuse match returns return_after reissues_max retention allow_guessable uses holder_only refund
    fallback fallback_on fallback_after alerts"""

_RESERVED: Final = """reservation_id reserved_at reserved_first reserved_size reserved_used reserved_takers
    reserved_open"""

_RESERVATION_EVENT: Final = "I reservation_id revision state count reserved used"

# What each worker writes of itself and of what it gave.
_REPORTS: Final = ("I", "U report seen_at state waiting_for counters")
_COUNTS: Final = ("S", "I", "U number")

_RECEIPTS: Final = ("S", "I", "U ended ended_reason ended_at")
# Codes that come back move to another block.
_MOVED_TEXT: Final = ("I", "U block_id position")
_MOVED_STATE: Final = (
    "I block_id position returned_at moved_to moved_position deleted_at",
    "U returned_at moved_to moved_position deleted_at",
)
_ALERTS: Final = ("S", "I program_id kind key level details", "U last_at count details cleared_at cleared_by")
_USES: Final = ("S", "I", "U profile_id context per_code taken_at held_until used_at ended_at ended_by")
_ORDERS: Final = ("S", "I", "U paid_at cancelled_at refunded_at refusals changed_at")

# Role and table: S, I and U of all columns or of those named behind them, and D of rows.
MAY: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "issuer": {
        "migration": ("S",),
        "retention": ("S",),
        "program": ("S", "U made"),
        "template_version": ("S", "U next_number skipped"),
        "block": (
            "S", "I program_id kind version first size expires_at fields origin source created_at",
            "U next attached holes open deleted returned reserved_used reserved_open reserved_takers",
        ),
        "code": ("S", *_MOVED_TEXT),
        "code_state": (
            "S", "I block_id position", "U activated_at undone_activations hole uses held_until", *_MOVED_STATE,
        ),
        "code_reissue": ("S old_block_id old_position new_block_id new_position",),
        "send_receipt": _RECEIPTS,
        "return_minute": _COUNTS,
        "reservation": ("S",),
        "code_use": _USES,
        "shop_order": _ORDERS,
        "answer": ("S", "I"),
        "holding": ("S", "I", "U", "D"),
        "worker": ("S id report", *_REPORTS),
        "usage_minute": _COUNTS,
        "usage_hour": _COUNTS,
        "alert": _ALERTS,
    },
    "generator": {
        "migration": ("S",),
        "retention": ("S", "U swept refusals vacuums"),
        "freed_range": ("S", "I", "U has_filter", "D"),
        "import": ("S id state error",),
        "code_reissue": ("S old_block_id old_position new_block_id new_position at",),
        "lifecycle_progress": ("S",),
        "lifecycle_profile": ("S", "I", "U", "D"),
        "program": ("S", "U made on_order reservations texts_folded"),
        "folded_text": ("S", "I"),
        "template_version": ("S", "U next_number skipped"),
        "block": ("S", "I", f"U size open attached deleted returned archived archived_used archived_until {_RESERVED}"),
        "code": ("S", *_MOVED_TEXT),
        "code_state": ("S", *_MOVED_STATE, "D"),
        "reservation": ("S", "U granted on_order used_before takers ended_at ended_by"),
        "reservation_event": ("S", _RESERVATION_EVENT, "U published_at"),
        "answer": ("S", "U profile_id", "D"),
        "holding": ("S", "I", "D"),
        "send_receipt": (*_RECEIPTS, "D"),
        "return_minute": (*_COUNTS, "D"),
        "bulk_change": ("S profile_id", "U profile_id"),
        "code_use": ("S", "U profile_id", "D"),
        "shop_order": ("S order_id refusals",),
        "idempotency": ("S body", "U body"),
        "profile": ("S", "I", "U", "D"),
        "profile_field": ("S", "I"),
        "remote_request": (
            "S", "I", "U state attempts refused next_attempt_at leased_until received error finished_at",
        ),
        "remote_secret": ("S", "I"),
        "remote_service": ("S", "U failures rest_until error error_at"),
        "worker": ("S id report seen_at state schema_version", *_REPORTS, "D"),
        "usage_minute": (*_COUNTS, "D"),
        "usage_hour": (*_COUNTS, "D"),
        "pool_level": ("S", "I", "D"),
        "alert": (*_ALERTS, "U reminded_at over_at"),
        "alert_event": ("S", "U published_at handed_at", "D"),
        "demand_day": ("S", "I", "U hours", "D"),
        "demand_done": ("S", "I", "U until"),
        "webhook_endpoint": ("S", "U active inactive_reason failures rest_until delivered_at"),
        "webhook_secret": ("S",),
        "webhook_event": ("S", "I id type occurred_at program_id data", "D"),
        "webhook_delivery": ("S", "I endpoint_id event_id", "U state attempts next_attempt_at ended_at"),
        "webhook_attempt": ("I",),
    },
    "lifecycle": {
        "migration": ("S",),
        "program": ("S id name groups",),
        "block": ("S",),
        "code_state": ("S",),
        "answer": (
            "S request_id ordinal program_id block_id position again profile_id expires_at fields answered_at",
            "S asked_program_id link",
        ),
        "lifecycle_progress": ("S", "I", "U", "D"),
        "lifecycle_profile": ("S", "I", "U", "D"),
        "webhook_endpoint": ("S",),
        "webhook_event": ("S", "I id type occurred_at program_id data"),
        "webhook_delivery": ("S", "I endpoint_id event_id"),
        "worker": ("S id report", *_REPORTS),
    },
    "console": {
        "migration": ("S",),
        "retention": ("S",),
        "lifecycle_progress": ("S",),
        "lifecycle_profile": ("S", "I", "U", "D"),
        "program": (
            "S", f"I name {_SETTINGS} version_folded",
            f"U {_SETTINGS} removed_at version made imported on_order changing texts_folded version_folded",
            "U reservations",
        ),
        "folded_text": ("S", "I", "D"),
        "template_version": ("S", "I", "U next_number skipped"),
        "block": (
            "S", "I",
            "U size next attached deleted returned undone holes open expires_at voided_at voided_from voided",
            f"U {_RESERVED}",
        ),
        "reservation": (
            "S", "I program_id source source_id count granted on_order until send_at partial overflow",
            "U count granted on_order until used_before takers revision ended_at ended_by",
        ),
        "reservation_event": ("S", _RESERVATION_EVENT),
        "code": ("S", "I", "U block_id position", "D"),
        "code_state": (
            "S", "I",
            "U activated_at deleted_at returned_at moved_to undone_activations hole changed expires_at fields",
            "U uses held_until moved_position",
        ),
        "send_receipt": _RECEIPTS,
        "return_minute": _COUNTS,
        "code_reissue": ("S", "I"),
        "bulk_change": (
            "S", "I",
            "U state profile_id listed major minor done changed skipped items undo_until undo_next restored ended_at",
        ),
        "bulk_change_item": ("S", "I"),
        "code_use": _USES,
        "shop_order": _ORDERS,
        "answer": ("S", "I", "U profile_id"),
        "program_draft": ("S", "I", "U", "D"),
        "holding": ("S", "I", "U", "D"),
        "idempotency": ("S", "I", "U body", "D"),
        "import": (
            "S", "I",
            "U state uploaded rows_read share_read imported attached taken_back bad case_variants error ended_at",
        ),
        "import_bad_row": ("S", "I"),
        "import_piece": ("S", "I", "D"),
        "upload": ("S", "I", "D"),
        "upload_piece": ("S", "I", "D"),
        "profile": ("S", "I", "U", "D"),
        "profile_field": ("S", "I"),
        "remote_request": ("S", "I"),
        "remote_secret": ("S", "I", "U ends_at"),
        "remote_service": ("S", "I"),
        "token": ("S", "U last_used"),
        "session": (
            "S", "I hash token_id kind name ends_at authenticated_at", "U authenticated_at last_seen_at ended_at", "D",
        ),
        "sign_in_link": ("S", "D"),
        "kept_form": ("S", "I", "D"),
        "token_miss": ("S", "I", "U"),
        "context_miss": ("S", "I", "U", "D"),
        "audit_entry": ("S", "I via actor verb program details"),
        "audit_chain": ("S",),
        "dead_letter": ("S", "I", "U", "D"),
        "worker": ("S", *_REPORTS),
        "program_history": ("S",),
        "promise_check": ("S", "I actor rules", "U rules_done ended_at error findings"),
        "usage_minute": _COUNTS,
        "usage_hour": _COUNTS,
        "pool_level": ("S",),
        "alert": _ALERTS,
        "alert_event": ("S",),
        "demand_day": ("S",),
        "demand_done": ("S",),
        "webhook_endpoint": (
            "S", "I kind target description types groups",
            "U target description types groups active inactive_reason failures rest_until subscribed_at removed_at",
        ),
        "webhook_secret": ("S", "I endpoint_id secret wrapped key_id", "U ends_at", "D"),
        "webhook_event": ("S",),
        "webhook_delivery": ("S", "I endpoint_id event_id", "U state attempts_before next_attempt_at ended_at"),
        "webhook_attempt": ("S",),
    },
    "auditor": {
        "migration": ("S",),
        "retention": ("S",),
        "lifecycle_progress": ("S",),
        "folded_text": ("S",),
        "reservation": ("S",),
        "program": ("S",),
        "program_history": ("S",),
        "template_version": ("S program_id version next_number skipped",),
        "block": ("S",),
        "code": ("S",),
        "code_state": ("S",),
        "code_use": ("S",),
        "shop_order": ("S",),
        "answer": ("S",),
        "holding": ("S",),
        "import": ("S",),
        "code_reissue": ("S",),
        "bulk_change": ("S",),
        "bulk_change_item": ("S",),
        "remote_request": ("S",),
        "audit_entry": ("S",),
        "audit_chain": ("S",),
        "alert": ("S",),
        "alert_event": ("S",),
        "send_receipt": ("S",),
        "webhook_endpoint": ("S",),
        "webhook_event": ("S",),
        "webhook_delivery": ("S",),
    },
}  # fmt: skip

# An identity is refused before rights are looked at.
_IDENTITIES: Final = {("session", "id"),
    ("program", "id"), ("block", "id"), ("program_history", "id"), ("token", "id"), ("remote_secret", "id"),
    ("code_use", "id"), ("alert", "id"), ("alert_event", "number"), ("webhook_endpoint", "id"),
    ("webhook_secret", "id"), ("webhook_delivery", "id"),
    ("audit_entry", "id"), ("promise_check", "id"), ("reservation", "id"), ("reservation_event", "id"),
}  # fmt: skip

# Each touches no row, and is refused or let through before it would look for one.
_STATEMENTS: Final = {
    "S": "SELECT {column} FROM {table} WHERE false",
    "I": "INSERT INTO {table} ({column}) SELECT NULL WHERE false",
    "U": "UPDATE {table} SET {column} = NULL WHERE false",
    "D": "DELETE FROM {table} WHERE false",
    "T": "TRUNCATE {table} CASCADE",
}

# All in one request: each of the thousands takes a hundred times as long alone.
_EACH: Final = """
    DO $$
    DECLARE
        statement text;
        refused text[] := '{}';
    BEGIN
        FOR statement IN SELECT jsonb_array_elements_text(current_setting('tests.statements')::jsonb) LOOP
            BEGIN
                EXECUTE statement;
            EXCEPTION WHEN insufficient_privilege THEN
                refused := refused || statement;
            END;
        END LOOP;
        PERFORM set_config('tests.refused', to_jsonb(refused)::text, false);
    END
    $$
    """

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


async def refused(connection: Connection, statements: Sequence[str]) -> list[str]:
    """Those of which the database says 42501. What is let through is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SELECT set_config('tests.statements', $1, false)", json.dumps(statements))
        await connection.execute(_EACH)
        found: list[str] = json.loads(await connection.fetchval("SELECT current_setting('tests.refused')"))
    finally:
        await transaction.rollback()
    return found


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_do_what_its_service_needs_and_nothing_else(
    connection: Connection, database_url: str, users: dict[str, str], role: str
) -> None:
    tables = {row["table"]: row["columns"] for row in await connection.fetch(_COLUMNS)}
    assert MAY[role].keys() <= tables.keys()
    may = {table: allowed(role, table, columns) for table, columns in tables.items()}
    expected = {
        _STATEMENTS[verb].format(table=f'"{table}"', column=f'"{column}"'): (verb, column) not in may[table]
        for table, columns in tables.items()
        for verb, column in [*product("SIU", columns), ("D", "-"), ("T", "-")]
        if verb not in "IU" or (table, column) not in _IDENTITIES
    }
    own = await asyncpg.connect(url_of(database_url, users[role]))
    try:
        found = set(await refused(own, list(expected)))
    finally:
        await own.close()
    assert [statement for statement, is_refused in expected.items() if is_refused != (statement in found)] == []


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_makes_nothing_changes_no_schema_and_reads_no_file(
    database_url: str, users: dict[str, str], role: str
) -> None:
    statements = [
        "CREATE TABLE more (id int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA more",
        "CREATE ROLE more",
        "ALTER TABLE answer DISABLE TRIGGER ALL",
        "DROP TABLE answer",
        "DROP INDEX answer_code_once",
        "ALTER TABLE answer DROP CONSTRAINT answer_once",
        "SELECT note_program_settings()",
        "INSERT INTO token (name, hash, scopes, groups) VALUES ('a', sha256('a'), '{admin}', '{}')",
        "UPDATE token SET revoked_at = NULL",
        "SET session_replication_role = replica",
        "COPY program FROM '/etc/passwd'",
        "COPY program TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        *(f"SET ROLE codewell_{other}" for other in sorted(set(ROLES) - {role})),
    ]
    own = await asyncpg.connect(url_of(database_url, users[role]))
    try:
        assert await refused(own, statements) == statements
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
