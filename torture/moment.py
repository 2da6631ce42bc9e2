"""Parameters of one fault injection."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Parameters of one fault injection: its random generator, repetitions and duration."""

    chance: random.Random
    times: int
    """Repetitions of an instantaneous fault."""
    lasts_s: float
    """Duration of a lasting fault (s)."""
