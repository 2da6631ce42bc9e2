"""Postgres by TLS: a connection and a pool come in, and what can't be trusted is refused in words that say why."""

import asyncio

import pytest
from asyncpg import InvalidAuthorizationSpecificationError

from codewell.errors import NotTrusted, StackUnavailable
from codewell.infra.postgres.connection import Connection, connection, pool, wait_until_up
from tests.support.certificates import Authority
from tests.support.secure_postgres import SecurePostgres

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


async def test_a_connection_and_a_pool(postgres: SecurePostgres) -> None:
    async with connection(postgres.url(), "test") as opened:
        assert await opened.fetchval(ENCRYPTED)
    async with pool(postgres.url(), "test", 1) as several:
        assert await several.fetchval(ENCRYPTED)


async def refused(url: str, *words: str, kind: type[StackUnavailable] = NotTrusted) -> None:
    with pytest.raises(kind) as raised:
        async with connection(url, "test"):
            pass
    assert type(raised.value) is kind
    assert all(word in str(raised.value) for word in (*words, "CODEWELL_POSTGRES_URL")), raised.value
    assert "\n" not in str(raised.value)


async def test_a_wrong_authority(postgres: SecurePostgres, stranger: Authority) -> None:
    url = postgres.url(authority=stranger.file)
    await refused(url, f"localhost:{postgres.port}", "not trusted", "sslrootcert")
    async with pool(url, "test", 1) as opened:
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await opened.fetchval("SELECT 1")


async def test_a_wrong_name(postgres: SecurePostgres) -> None:
    await refused(postgres.url("127.0.0.1"), f"127.0.0.1:{postgres.port}", "another host name")
    async with pool(postgres.url("127.0.0.1"), "test", 1) as opened:
        with pytest.raises(OSError, match="IP address mismatch"):
            await opened.fetchval("SELECT 1")


async def test_a_wrong_password(postgres: SecurePostgres) -> None:
    await refused(postgres.url(user="somebody"), "refused the login", "password")


async def test_no_tls(postgres: SecurePostgres) -> None:
    url = postgres.url().replace("verify-full", "disable")
    await refused(url, "refused the login", "sslmode")
    async with pool(url, "test", 1) as opened:
        with pytest.raises(InvalidAuthorizationSpecificationError):
            await opened.fetchval("SELECT 1")


async def test_a_server_without_tls(postgres: SecurePostgres, postgres_url: str) -> None:
    url = f"{postgres_url}?sslmode=verify-full&sslrootcert={postgres.authority.file}"
    await refused(url, "rejected SSL upgrade", kind=StackUnavailable)


async def test_no_authority(postgres: SecurePostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    await refused(postgres.url().partition("&")[0], "root certificate file")


async def test_an_authority_that_is_none(postgres: SecurePostgres) -> None:
    key = postgres.authority.issue("client", "client").key
    await refused(postgres.url(authority=key), "sslrootcert", "PEM", kind=StackUnavailable)


async def test_what_waiting_does_not_mend_is_said_at_once(postgres: SecurePostgres) -> None:
    async def check(_: Connection) -> None:
        raise AssertionError

    async with asyncio.timeout(20):
        with pytest.raises(NotTrusted):
            await wait_until_up(postgres.url("127.0.0.1"), "test", 600, check)
