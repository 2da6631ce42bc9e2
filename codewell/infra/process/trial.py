"""When to try a shorter way that sometimes fails, so that its failures cost little."""

from typing import Final

_PASSED_OVER_MAX: Final = 64


class Trial:
    """After the shorter way has failed, the next 2, 4 ... 64 times take the usual way."""

    def __init__(self) -> None:
        self._pause = 1
        self._left = 0

    def is_due(self) -> bool:
        """Whether to try the shorter way this time. Ask once each time."""
        if self._left > 0:
            self._left -= 1
            return False
        return True

    def note(self, *, worked: bool) -> None:
        """Note how it went."""
        if worked:
            self._pause = 1
        else:
            self._pause = min(2 * self._pause, _PASSED_OVER_MAX)
            self._left = self._pause
