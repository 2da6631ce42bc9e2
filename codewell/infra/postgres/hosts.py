"""Connect to the one of several hosts that takes writes, whatever is wrong with the others."""

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

# For each host: one that swallows what is sent to it would otherwise take all the time that there is for the others.
CONNECT_TIMEOUT_S: Final = 4.0
_SESSION_ATTRS_OPTION: Final = "target_session_attrs"


async def connect(url: str, **more: Any) -> asyncpg.Connection:
    """A connection to the URL's host; of several, to the first that takes writes, unless the URL wants another.

    After a fail-over the old primary may be there, alive, and refuse every write. Raises what asyncpg raises, and
    ConnectionError with what is wrong at each of several hosts.
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
    """A URL for each host of this one, by host and port."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return {hosts: url}
    return {host: urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")}
