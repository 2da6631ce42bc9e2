"""Where a URL or a list of brokers points to, and whether that is this machine itself."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import parse_qs, quote, unquote, urlsplit, urlunsplit

# What libpq has, of which the first three take any server for the right one.
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def broker_hosts(bootstrap: str) -> Iterator[str]:
    """The hosts of brokers that are given as host:port, separated by commas."""
    for broker in bootstrap.split(","):
        yield broker.strip().rpartition(":")[0].strip("[]")


def postgres_hosts(url: str) -> Iterator[str]:
    """The hosts that a URL of Postgres names, a folder where it is one of sockets; none where it leaves them open."""
    parts = urlsplit(url)
    named = parts.netloc.rpartition("@")[2].split(",") + postgres_options(url).get("host", "").split(",")
    for place in named:
        # Only what is not an address of IPv6, or is one in brackets, has a port behind its last colon.
        host = place.partition("]")[0].strip("[") if place.startswith("[") else place.partition(":")[0]
        if host:
            yield unquote(host)


def postgres_options(url: str) -> dict[str, str]:
    """The options of the URL's query; the last of a name counts."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


def with_password(url: str, password: str) -> str:
    """The URL of Postgres with this password in place of one that it may have."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}:{quote(password, safe='')}@{hosts}"
    return urlunsplit(parts._replace(netloc=netloc))


def is_local(host: str) -> bool:
    """Whether the host is a loopback address or a socket of this machine, so that no network carries the traffic."""
    if host == "localhost" or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
