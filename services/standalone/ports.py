"""Ports on loopback: free ones, and the previous ones of a home."""

import json
import socket
from contextlib import ExitStack
from pathlib import Path

from codewell.errors import StackUnavailable

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As the servers do: a lingering connection of the last run does not block the port, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A currently free port. Another process may bind it first; the caller has to handle that."""
    [port] = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """Distinct free ports."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def taken(name: str, port: int) -> StackUnavailable:
    """The error of a server whose port another program uses."""
    return StackUnavailable(
        f"{name} cannot listen on {LOOPBACK}:{port}, which another program uses: stop it, or choose another port."
    )


class PortBook:
    """The ports of one home, kept so that a restarted stack has the same addresses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def choose(self, name: str) -> int:
        """The previous port of `name` if it is still free, else a new one."""
        before = self._read().get(name)
        return before if before is not None and is_free(before) else free_port()

    def remember(self, name: str, port: int) -> None:
        """Store the port for the next start."""
        ports = self._read()
        if ports.get(name) != port:
            self._path.write_text(json.dumps({**ports, name: port}))

    def _read(self) -> dict[str, int]:
        try:
            ports = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): int(port) for name, port in ports.items()} if isinstance(ports, dict) else {}
