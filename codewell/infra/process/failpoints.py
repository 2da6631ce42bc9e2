"""Points at which tests make a process die, to check what state a crash leaves.

None is armed unless the setting `failpoints` names it. A worker passes one a batch, not one a request.
"""

import os
import signal
from enum import StrEnum
from typing import Final

import structlog

from codewell.errors import SettingsInvalid

log = structlog.get_logger()

_ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoint(StrEnum):
    """Every moment that can be named."""

    FETCHED = "fetched"
    CLAIMED = "claimed"
    """A claim is written and not committed."""
    COMMITTED = "committed"
    """A claim is committed, and nobody knows of it."""
    PRODUCED = "produced"
    """The first answers of a batch are acknowledged, the others are on their way."""
    ACKNOWLEDGED = "acknowledged"
    """Answers are in Kafka, and the offsets of their requests are not committed."""
    OFFSETS_COMMITTED = "offsets_committed"
    REVOKING = "revoking"
    """Partitions are taken away, maybe with a batch in hand."""
    CLOSING = "closing"
    FILLED = "filled"
    """Codes for a pool are made and not committed."""
    ORDERED = "ordered"
    """A request to a remote service is taken, and not sent."""
    ANSWERED = "answered"
    """The remote service has answered, and nothing of it is stored."""
    STORED = "stored"
    """The remote service's codes are stored and not committed."""


# How often each armed point is still to be passed, and what happens then.
_armed: dict[Failpoint, tuple[int, signal.Signals]] = {}


def arm(text: str) -> None:
    """Arm points, such as `claimed=kill@3,closing=stop`: the signal comes when the point is reached the third time.

    Raises SettingsInvalid.
    """
    _armed.clear()
    for one in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = one.partition("=")
        action, _, count = rest.partition("@")
        if name not in list(Failpoint) or action not in _ACTIONS or not (count or "1").isdigit() or int(count or 1) < 1:
            raise SettingsInvalid(
                f"CODEWELL_FAILPOINTS is invalid: {one} must be like claimed=kill@3, of "
                f"{', '.join(Failpoint)} and {', '.join(_ACTIONS)}."
            )
        _armed[Failpoint(name)] = (int(count or 1), _ACTIONS[action])
    if _armed:
        log.warning("failpoints_armed", failpoints=text)


def reach(point: Failpoint) -> None:
    """Send the armed signal to this process when it passes this point the given number of times."""
    if not _armed or point not in _armed:
        return
    left, number = _armed[point]
    if left > 1:
        _armed[point] = (left - 1, number)
        return
    del _armed[point]
    log.warning("failpoint_reached", point=point.value)
    os.kill(os.getpid(), number)
