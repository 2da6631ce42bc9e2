"""Prevents requests to internal networks (SSRF): resolves a remote service's host once, and checks its addresses.

A marketer enters a program's URL, and the generator runs in a network with databases and cloud metadata services.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import httpcore

from codewell.errors import RemoteFailed
from codewell.remote.settings import Network

Address = IPv4Address | IPv6Address

# IANA's registries of special-purpose addresses, and multicast.
_REFUSED: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        # Parts of the range below: Teredo and others, documentation, 6to4.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
# All global unicast addresses. Loopback, private, link-local, IPv4-mapped and NAT64 addresses are outside.
_GLOBAL_V6: Final = IPv6Network("2000::/3")


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the generator may connect to the address; `allowed` are networks that the operator has opened."""
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    return not any(address in network for network in _REFUSED)


async def resolve(host: str, port: int, allowed: Sequence[Network]) -> list[str]:
    """The addresses of a host, in the order in which to try them. One forbidden address refuses the host.

    Raises RemoteFailed.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RemoteFailed(f"The host {host} cannot be resolved ({type(error).__name__}): check the URL.") from error
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    for address in addresses:
        if not is_allowed(ip_address(address), allowed):
            raise RemoteFailed(
                f"The host {host} is at {address}, which is not a public address: the operator can allow it with "
                "CODEWELL_REMOTE_ALLOW."
            )
    return addresses


class AllowedAddresses(httpcore.AsyncNetworkBackend):
    """Opens connections to host names, at allowed addresses only."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._network = httpcore.AnyIOBackend()
        self._allowed = allowed

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        """Connect to the first reachable address. Raises RemoteFailed, and what httpcore raises."""
        addresses = await resolve(host, port, self._allowed)
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise RemoteFailed(f"The host {host} has no address: check the URL.")
