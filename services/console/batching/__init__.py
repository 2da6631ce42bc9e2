"""Batching: concurrent requests for one program share one transaction."""

from typing import Final

# Longest pause after a batch (s).
PAUSE_S: Final = 0.01
