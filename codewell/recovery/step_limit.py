"""Limits one step of a long replay, purge or search, so that a caller over HTTP gets an answer in time."""

import time
from typing import Final


class StepLimit:
    """A number of letters and a time (s), counted from now; None: no limit."""

    def __init__(self, letters_max: int | None, time_max_s: float | None) -> None:
        self._letters_max = letters_max
        self._ends_at = None if time_max_s is None else time.monotonic() + time_max_s

    def is_reached(self, letters: int) -> bool:
        """Whether the step has to end after so many letters."""
        is_late = self._ends_at is not None and time.monotonic() >= self._ends_at
        return is_late or (self._letters_max is not None and letters >= self._letters_max)


UNLIMITED: Final = StepLimit(None, None)
