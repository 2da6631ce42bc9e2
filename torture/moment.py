"""What one fault is made with."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """What one fault is made with: its own source of chance, and how much of it there is."""

    chance: random.Random
    times: int
    """How often, where it is of the kind that happens at a point in time."""
    lasts_s: float
    """How long, where it is of the kind that lasts (s)."""
