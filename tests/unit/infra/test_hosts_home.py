"""Connections of a process whose user's home is not to be looked into."""

import socket

import pytest

from codewell.infra.postgres import hosts


async def test_a_home_that_can_not_be_looked_into_ends_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in a container: a home of root's ended every worker. A too long name fails for root as well."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setenv("HOME", f"/{'n' * 5000}")

        with pytest.raises(ConnectionRefusedError):
            await hosts.connect(f"postgresql://someone@127.0.0.1:{port}/database")
