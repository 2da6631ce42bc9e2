"""Failpoints: tests arm them to kill or stop a process, and check the state that a crash leaves.

The setting `failpoints` arms them; by default none is armed. A worker passes one a batch, not one a request.
"""

import os
import signal
from enum import StrEnum
from typing import Any, Final

from codewell.errors import SettingsInvalid

_ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoint(StrEnum):
    """All failpoints."""

    FETCHED = "fetched"
    CLAIMED = "claimed"
    """A claim is written and not committed; one of a single statement is about to be sent."""
    COMMITTED = "committed"
    """A claim is committed and not published."""
    PRODUCED = "produced"
    """The first answers of a batch are acknowledged, the others are in flight."""
    ACKNOWLEDGED = "acknowledged"
    """Answers are in Kafka, and the offsets of their requests are not committed."""
    OFFSETS_COMMITTED = "offsets_committed"
    REVOKING = "revoking"
    """Partitions are being revoked, possibly with a batch in progress."""
    CLOSING = "closing"
    FILLED = "filled"
    """Codes for a pool are inserted and not committed."""
    ORDERED = "ordered"
    """An order to a remote service is leased and not sent."""
    ANSWERED = "answered"
    """The remote service has answered, and nothing is stored."""
    STORED = "stored"
    """The remote service's codes are inserted and not committed."""
    STREAM_SNAPSHOT = "stream_snapshot"
    """A part of the snapshot of an epoch is published, and it is not noted as ready."""
    STREAM_READ = "stream_read"
    """Changes of codes are read from the log and not published."""
    STREAM_PUBLISHED = "stream_published"
    """Events about codes are published, and that is not noted."""
    STREAM_NOTED = "stream_noted"
    """It is noted, and the slot is where it was."""
    ALERTS_PUBLISHED = "alerts_published"
    """Events of alerts are in Kafka, and not marked as published."""
    NOTIFIED = "notified"
    """The receiver of a webhook has answered, and nothing is recorded."""
    ARCHIVED = "archived"
    """Old answers are in their file and deleted, and that is not committed."""


# For each armed failpoint: the passes that are left, and the signal.
_armed: dict[Failpoint, tuple[int, signal.Signals]] = {}


def arm(text: str) -> None:
    """Arm failpoints from a text such as `claimed=kill@3,closing=stop`; `@3` sends the signal at the third pass.

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
        log = _logger()
        log.warning("failpoints_armed", failpoints=text)


def reach(point: Failpoint) -> None:
    """Pass a failpoint: send this process the armed signal if the count is reached."""
    if not _armed or point not in _armed:
        return
    left, number = _armed[point]
    if left > 1:
        _armed[point] = (left - 1, number)
        return
    del _armed[point]
    log = _logger()
    log.warning("failpoint_reached", point=point.value)
    os.kill(os.getpid(), number)


def _logger() -> Any:
    # It takes a tenth of a command's start, and a command has no failpoints.
    import structlog

    return structlog.get_logger()
