"""Which codes of a program a list has, and in which order."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from codewell.codes.lookup import END, START, CodeFacts, CodePlace
from codewell.pool.batch import Batch
from schemas.program import State

# Before the first text of a list block.
_FIRST_TEXT: Final = CodePlace(1, 0, -1)


class CodeFilter(NamedTuple):
    """Which codes to list, and in which order. A profile takes precedence over a state."""

    state: State | None = None
    profile_id: str | None = None
    batch: Batch | None = None
    import_id: UUID | None = None
    """Of one import. A code that returned to the pool since is no longer among them."""
    expires_from: datetime | None = None
    expires_until: datetime | None = None
    """Exclusive."""
    newest_first: bool = False
    """From the last to the first place: imported and returned codes first, then the latest minted one."""

    @property
    def start(self) -> CodePlace:
        """The cursor of the first page."""
        if self.batch is None:
            if self.import_id is not None and not self.newest_first:
                # Its codes are texts, and there may be very many blocks of others.
                return _FIRST_TEXT
            return END if self.newest_first else START
        return CodePlace(0, self.batch.version, self.batch.end if self.newest_first else self.batch.first - 1)

    @property
    def is_counted(self) -> bool:
        """Whether the program's counters say how many codes these are."""
        narrowed = (self.profile_id, self.batch, self.import_id, self.expires_from, self.expires_until)
        return all(one is None for one in narrowed) and self.state in {None, "pooled", "deleted"}

    @property
    def has_expiry(self) -> bool:
        """Whether it asks for an expiry."""
        return self.expires_from is not None or self.expires_until is not None

    def holds(self, code: CodeFacts) -> bool:
        """Whether the code passes the filter but for its profile: a shared code has many, and names the first."""
        return (
            self.state in {None, code.state}
            and (self.batch is None or in_batch(self.batch, code.place))
            and self.import_id in {None, code.import_id}
            and (not self.has_expiry or self._expires_then(code))
        )

    def _expires_then(self, code: CodeFacts) -> bool:
        at = code.expires_at
        return (
            at is not None
            and (self.expires_from is None or at >= self.expires_from)
            and (self.expires_until is None or at < self.expires_until)
        )


ALL: Final = CodeFilter()


def in_batch(batch: Batch, place: CodePlace) -> bool:
    """Whether this place is one of the batch's."""
    return place[:2] == (0, batch.version) and batch.first <= place.minor < batch.end
