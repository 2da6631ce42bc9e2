"""The audit log, as the HTTP API answers it."""

from datetime import datetime
from typing import Any, Literal

from schemas.strict_model import StrictModel


class LogEntry(StrictModel):
    """One action of a person: who did what, when, and to which program. It never names a code or a profile.

    `place` is its number in the hash chain. `actor` is the name of a token, or the user of a command. `details` depend
    on the verb.
    """

    place: int
    at: datetime
    via: str
    actor: str
    database_user: str
    verb: str
    program: str | None
    details: dict[str, Any]


class LogVerification(StrictModel):
    """How far the hash chain of the audit log is verified: up to the entry `verified_up_to`.

    `state` is `intact`; `broken`, where `fault` says which entry was changed, removed or inserted; or `running`, while
    a first verification has not reached the end: ask again. `head` (PLACE:HASH) covers all entries up to that place:
    stored outside of the database, it lets `codewell audit verify --head` detect entries that were cut off at the end.
    """

    state: Literal["intact", "broken", "running"]
    verified_up_to: int
    head: str
    fault: str | None
    verified_at: datetime | None
