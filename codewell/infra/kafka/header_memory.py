"""The memory of the headers of records that have very many: a header of two bytes is a pair there."""

from contextvars import ContextVar
from typing import Final

HEADER_BYTES: Final = 64


class HeaderMemory:
    """What the task that makes this reads from then on."""

    def __init__(self) -> None:
        self._bytes = 0
        _current.set(self)

    def add(self, headers: int) -> None:
        """Add those of one record."""
        self._bytes += headers * HEADER_BYTES

    def take(self) -> int:
        """What was added since the last call (bytes)."""
        taken, self._bytes = self._bytes, 0
        return taken


_current: Final[ContextVar[HeaderMemory | None]] = ContextVar("header_memory", default=None)


def add(headers: int) -> None:
    """Add the headers of one record to what the current task reads."""
    memory = _current.get()
    if memory is not None:
        memory.add(headers)
