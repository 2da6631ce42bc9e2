"""Connects to the writable one of several hosts, even if others fail or hang."""

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

# For each host: one that drops packets would otherwise use up the time of the others.
CONNECT_TIMEOUT_S: Final = 4.0
_SESSION_ATTRS_OPTION: Final = "target_session_attrs"


async def connect(url: str, **more: Any) -> asyncpg.Connection:
    """Connect to the URL's host; of several, to the first writable one, unless the URL's options ask for another.

    After a fail-over the old primary may still run and refuse every write. Raises what asyncpg raises, and
    ConnectionError with the error of each of several hosts.
    """
    hosts = urls_by_host(url)
    if len(hosts) > 1 and _SESSION_ATTRS_OPTION not in urlsplit(url).query:
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


def urls_by_host(url: str) -> dict[str, str]:
    """One URL for each host of this URL, keyed by (host, port)."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return {hosts: url}
    return {host: urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")}
