"""Counts what woke the generator."""

from typing import Final

from prometheus_client import Counter

WAKE_UPS: Final = Counter("codewell_wake_ups", "Wake-ups of the generator, by kind.", ["kind"])
for _kind in ("sweep", "PoolDemand", "ProgramChanged", "unreadable"):
    WAKE_UPS.labels(_kind)
