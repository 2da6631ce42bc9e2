"""When the day began."""

from datetime import UTC, datetime, time

from schemas.moments import ZONE


def today() -> datetime:
    """The begin of the day in CODEWELL_TIME_ZONE, in UTC."""
    now = datetime.now(ZONE.get())
    return datetime.combine(now.date(), time(), now.tzinfo).astimezone(UTC)
