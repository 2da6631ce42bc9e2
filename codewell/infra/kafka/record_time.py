"""The time of a record, as its sender or its broker set it."""

from datetime import UTC, datetime
from typing import Final

from aiokafka import ConsumerRecord

_NO_DATE: Final = datetime(1970, 1, 1, tzinfo=UTC)


def record_time(record: ConsumerRecord, otherwise: datetime = _NO_DATE) -> datetime:
    """The record's timestamp, or `otherwise` where it is no date: a sender may write any 64 bits."""
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return otherwise
