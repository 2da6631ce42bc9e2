"""Nothing inside the operator's network is called, however its address is written."""

from ipaddress import ip_address, ip_network

import pytest

from codewell.errors import RemoteFailed
from codewell.remote.addresses import is_allowed, resolve

REFUSED = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1",
    "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
)  # fmt: skip
ALLOWED = ("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "2a00::1")


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not is_allowed(ip_address(text), ())


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_public_is_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), ())


def test_the_operator_opens_networks() -> None:
    opened = [ip_network("10.1.0.0/16"), ip_network("::1/128")]
    assert is_allowed(ip_address("10.1.2.3"), opened)
    assert is_allowed(ip_address("::1"), opened)
    assert not is_allowed(ip_address("10.2.0.1"), opened)
    assert not is_allowed(ip_address("::ffff:10.1.2.3"), opened)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "0", "::1",
                                  "::ffff:127.0.0.1", "169.254.169.254"])  # fmt: skip
async def test_however_a_host_is_written_its_addresses_are_judged(host: str) -> None:
    with pytest.raises(
        RemoteFailed, match=r"not a public address: the operator can allow it with CODEWELL_REMOTE_ALLOW"
    ):
        await resolve(host, 80, ())


async def test_one_address_that_may_not_be_called_refuses_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("8.8.8.8", 80)), (0, 0, 0, "", ("10.0.0.1", 80))]

    import asyncio

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    with pytest.raises(RemoteFailed, match=r"10\.0\.0\.1"):
        await resolve("codes.example", 80, ())
    assert await resolve("codes.example", 80, [ip_network("10.0.0.0/8")]) == ["8.8.8.8", "10.0.0.1"]


async def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(RemoteFailed, match=r"nowhere\.invalid cannot be resolved"):
        await resolve("nowhere.invalid", 80, ())
