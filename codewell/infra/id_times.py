"""The time that an id of version 7 says, for comparisons by the ids alone. Pure."""

from datetime import datetime
from typing import Final
from uuid import UUID

SQL_IS_VERSION_7: Final = "get_byte(uuid_send({}), 6) >> 4 = 7"
"""By the version alone, as `is_before`: both have to say the same of every id."""


def first_of(moment: datetime) -> UUID:
    """The least id of version 7 in the millisecond of this time, or of all for a time before 1970."""
    return UUID(int=max(0, int(moment.timestamp() * 1_000)) << 80 | 0x7 << 76 | 0b10 << 62)


def is_before(request_id: UUID, first: UUID) -> bool:
    """Whether the id says a time, as ids of version 7 do, and it is before that of `first`."""
    return request_id < first and request_id.int >> 76 & 0xF == 0x7
