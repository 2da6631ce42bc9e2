"""Parses Postgres URLs and broker lists, and tells local hosts from others."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit, urlunsplit

# The values of libpq; the first three accept any server certificate.
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def broker_hosts(bootstrap: str) -> Iterator[str]:
    """The hosts of a comma-separated list of host:port."""
    for broker in bootstrap.split(","):
        yield broker.strip().rpartition(":")[0].strip("[]")


def split_postgres_url(url: str) -> SplitResult:
    """As urlsplit, whose newer versions refuse a list of hosts with an IPv6 address after the first one."""
    scheme, separator, rest = url.partition("://")
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    return urlsplit(f"{scheme}{separator}{rest[end:]}")._replace(netloc=rest[:end])


def postgres_hosts(url: str) -> Iterator[str]:
    """The hosts of a Postgres URL, or directories of sockets; empty if the URL names none."""
    parts = split_postgres_url(url)
    named = parts.netloc.rpartition("@")[2].split(",") + postgres_options(url).get("host", "").split(",")
    for place in named:
        # A host has a port after its last colon, unless it is an IPv6 address without brackets.
        host = place.partition("]")[0].strip("[") if place.startswith("[") else place.partition(":")[0]
        if host:
            yield unquote(host)


def postgres_options(url: str) -> dict[str, str]:
    """The options of the URL's query; of repeated names the last one applies."""
    return {name: values[-1] for name, values in parse_qs(split_postgres_url(url).query).items()}


def with_password(url: str, password: str) -> str:
    """The Postgres URL with this password, which replaces its own, if any."""
    parts = split_postgres_url(url)
    user, _, hosts = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}:{quote(password, safe='')}@{hosts}"
    return urlunsplit(parts._replace(netloc=netloc))


def host_of(url: str) -> str:
    """The host of a URL; "" if it has none."""
    return urlsplit(url).hostname or ""


def is_local(host: str) -> bool:
    """Whether the host is a loopback address or a socket directory, so that no network carries the traffic."""
    if host == "localhost" or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
