"""When the day began."""

from datetime import UTC, datetime, time

from schemas.moments import ZONE
from schemas.usage import Step


def today() -> datetime:
    """The begin of the day in CODEWELL_TIME_ZONE, in UTC."""
    now = datetime.now(ZONE.get())
    return datetime.combine(now.date(), time(), now.tzinfo).astimezone(UTC)


def whole_step(begin: datetime) -> Step:
    """The longest step of usage that begins at this time: hours are those of UTC, and a day may begin within one."""
    return "minute" if begin.minute else "hour"
