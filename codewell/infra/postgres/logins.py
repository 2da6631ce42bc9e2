"""Database users with the privileges of one service or of an auditor, and no others."""

import hashlib
import hmac
import secrets
from base64 import b64encode
from typing import Final

import asyncpg

from codewell.errors import SchemaMismatch, SettingsInvalid
from codewell.infra.postgres.connection import Connection

ROLES: Final = ("issuer", "generator", "console", "lifecycle", "auditor")
PASSWORD_CHARACTERS_MIN: Final = 16
_SCRAM_ITERATIONS: Final = 4_096
_SALT_BYTES: Final = 16
# The reader of the log.
_ATTRIBUTES: Final = {"lifecycle": "REPLICATION"}

_IS_LOGIN_OF_ROLE: Final = """
    SELECT ARRAY(SELECT DISTINCT roleid FROM pg_auth_members WHERE member = r.oid) = ARRAY[g.oid]
        AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolname = session_user)
    FROM pg_roles r, pg_roles g WHERE r.rolname = $1 AND g.rolname = $2
    """


async def create_login(connection: Connection, role: str, user: str, password: str) -> None:
    """Create a user with the privileges of a role (one of ROLES), or change the password of a user that has the role.

    Raises SettingsInvalid if the password is too short, the user exists for another purpose, or the connection's user
    may not create users; SchemaMismatch if the role is missing.
    """
    if len(password) < PASSWORD_CHARACTERS_MIN or not (password.isascii() and password.isprintable()):
        raise SettingsInvalid(
            f"The password must have at least {PASSWORD_CHARACTERS_MIN} ASCII characters: create one with `openssl "
            "rand -hex 24`."
        )
    group = f"codewell_{role}"
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", group):
        raise SchemaMismatch(f"This cluster has no role {group} (as after a restore): run codewell migrate first.")
    is_member = await connection.fetchval(_IS_LOGIN_OF_ROLE, user, group)
    if is_member is False:
        raise SettingsInvalid(f"The user {user} exists and has other roles than {group}: choose another name.")
    # Rights that roles do not hand on to their members.
    attributes = f"LOGIN {_ATTRIBUTES.get(role, '')}".strip()
    what = (
        f"ALTER ROLE %I {attributes} PASSWORD %L"
        if is_member
        else f"CREATE ROLE %I {attributes} PASSWORD %L IN ROLE %I"
    )
    # Statements of this kind take no parameters, so the server quotes the values in a query first.
    statement = await connection.fetchval(
        f"SELECT format('{what}', $1::text, $2::text, $3::text)",
        user,
        _verifier(password),
        group,
    )
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsInvalid(
            f"The user of CODEWELL_POSTGRES_URL may not create users ({error}): run this as a user with CREATEROLE, or "
            f"let a superuser create the user and GRANT {group}."
        ) from error


def _verifier(password: str) -> str:
    """The SCRAM verifier of a password (RFC 5803), so that no statement log contains the password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    head = f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{b64encode(salt).decode()}"
    return f"{head}${b64encode(stored).decode()}:{b64encode(server).decode()}"
