"""Long work takes turns, so that it leaves connections to everybody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.console.http.problems import try_later

EXPORTS_MAX: Final = 2
_RETRY_AFTER_S: Final = 30


class ConcurrencyLimit:
    """So many may work at once; whoever comes then is told to try again."""

    def __init__(self, at_once_max: int = EXPORTS_MAX) -> None:
        self._free = at_once_max

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the turns. Raises 503 where there is none."""
        if self._free == 0:
            raise try_later(503, "Too many exports run on this console: try again later.", _RETRY_AFTER_S)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
