"""Connects to the writable one of several hosts, even if others fail or hang."""

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlunsplit

import asyncpg

from codewell.infra.config.urls import split_postgres_url

# For each host: one that drops packets would otherwise use up the time of the others.
CONNECT_TIMEOUT_S: Final = 4.0
_SESSION_ATTRS_OPTION: Final = "target_session_attrs"


async def connect(url: str, **more: Any) -> asyncpg.Connection:
    """Connect to the URL's host; of several, to the first writable one, unless the URL's options ask for another.

    After a fail-over the old primary may still run and refuse every write. Raises what asyncpg raises, and
    ConnectionError with the error of each of several hosts.
    """
    _leave_closed_home()
    hosts = urls_by_host(url)
    if len(hosts) > 1 and _SESSION_ATTRS_OPTION not in split_postgres_url(url).query:
        more[_SESSION_ATTRS_OPTION] = "read-write"
    refused = []
    for place, one in hosts.items():
        try:
            return await asyncpg.connect(one, timeout=CONNECT_TIMEOUT_S, **more)
        except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
            if len(hosts) == 1:
                raise
            refused.append(f"{place} ({type(error).__name__})")
    raise ConnectionError(f"No host takes writes: {', '.join(refused)}.")


def _leave_closed_home() -> None:
    """Have asyncpg look for keys and passwords nowhere when it may not look into the user's home: it would fail."""
    try:
        is_open = os.access(Path.home(), os.X_OK)
    except RuntimeError:
        # No home is known, which asyncpg bears.
        return
    if not is_open:
        os.environ["HOME"] = os.devnull


def urls_by_host(url: str) -> dict[str, str]:
    """One URL for each host of this URL, keyed by (host, port)."""
    parts = split_postgres_url(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return {hosts: url}
    return {host: urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")}
