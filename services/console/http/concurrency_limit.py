"""Limits concurrent exports, so that they leave database connections to other requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.console.http.problems import try_later

EXPORTS_MAX: Final = 2
_RETRY_AFTER_S: Final = 30


class ConcurrencyLimit:
    """A semaphore that refuses instead of waiting."""

    def __init__(self, concurrency_max: int = EXPORTS_MAX) -> None:
        self._slots_free = concurrency_max

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot. Raises HTTPException (503) when none is free."""
        if self._slots_free == 0:
            raise try_later(503, "Too many exports run on this console: try again later.", _RETRY_AFTER_S)
        self._slots_free -= 1
        try:
            yield
        finally:
            self._slots_free += 1
