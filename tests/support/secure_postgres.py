"""A Postgres that accepts only TLS, with a certificate for `localhost`.

The one that a standalone stack starts is built without TLS, so it is Debian's: the machine's own, or unpacked.
"""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

from services.standalone.child import Child
from services.standalone.home import Home
from services.standalone.ports import LOOPBACK, free_port
from services.standalone.postgres_data import ENVIRONMENT, USER
from services.standalone.server_user import give_to, server_user
from tests.support.certificates import Authority
from tests.support.debian import unpacked

_VERSIONS = "usr/lib/postgresql/*/bin"
_START_TIMEOUT_S = 60.0
_POLL_S = 0.02
_OPTIONS = {
    "listen_addresses": LOOPBACK, "unix_socket_directories": "", "fsync": "off", "ssl": "on",
    "ssl_cert_file": "server.pem", "ssl_key_file": "server.key",
}  # fmt: skip


class SecurePostgres(NamedTuple):
    """Its address and its certificate authority."""

    port: int
    password: str
    authority: Authority

    def url(self, host: str = "localhost", authority: Path | None = None, user: str = USER) -> str:
        """Its URL under this host name; the client verifies the certificate against this authority."""
        options = f"sslmode=verify-full&sslrootcert={authority or self.authority.file}"
        return f"postgresql://{user}:{self.password}@{host}:{self.port}/postgres?{options}"


def tls_binaries() -> Path | None:
    """The programs of a Postgres that was built with TLS; None where apt can't fetch one."""
    for root in (Path("/"), unpacked("postgresql-15"), unpacked("postgresql-17")):
        found = [] if root is None else sorted(root.glob(_VERSIONS))
        if found:
            return found[-1]
    return None


@asynccontextmanager
async def secure_postgres(programs: Path, home: Home, folder: Path) -> AsyncIterator[SecurePostgres]:
    """Run a server that accepts only TLS connections with a password."""
    directory, log_path = home.path / "postgres", home.logs / "postgres.log"
    data, password_file = directory / "data", directory / "password"
    directory.mkdir(mode=0o700)
    data.mkdir(mode=0o700)
    password_file.write_text(secrets.token_urlsafe(32))
    run_as = server_user(directory, programs / "postgres")
    give_to(run_as, directory, data, password_file)

    async def start(name: str, *words: str | Path) -> Child:
        # Debian's server expects its messages and time zones at Debian's paths.
        return await Child.start(
            name, [programs / name, *words], log_path=log_path, env=ENVIRONMENT, cwd=data, run_as=run_as
        )

    making = await start(
        "initdb", "-D", data, f"--username={USER}", f"--pwfile={password_file}", "--auth=scram-sha-256",
        "--encoding=UTF8", "--locale=C", "--no-sync",
    )  # fmt: skip
    assert await making.wait() == 0, making.last_words()
    authority = Authority(folder)
    for made, name in zip(authority.issue("localhost", "postgres"), ("server.pem", "server.key"), strict=True):
        (data / name).touch(mode=0o600)
        (data / name).write_bytes(made.read_bytes())
        give_to(run_as, data / name)
    (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    server = SecurePostgres(free_port(), password_file.read_text(), authority)
    options = [f"-c{name}={value}" for name, value in {**_OPTIONS, "port": str(server.port)}.items()]
    child = await start("postgres", "-D", data, *options)
    try:
        assert await child.is_ready(_answers(server), _START_TIMEOUT_S), child.last_words()
        yield server
    finally:
        await child.stop(signal.SIGINT)


async def _answers(server: SecurePostgres) -> None:
    while True:
        try:
            connection = await asyncpg.connect(server.url())
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(_POLL_S)
        else:
            await connection.close()
            return
