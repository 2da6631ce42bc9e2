"""The fault of a record that becomes a dead letter."""

from typing import Self

from schemas.events import DeadReason


class UnreadableRecord(Exception):
    """A record that is dead-lettered. `reason` is a value of the contract, `detail` a sentence for people."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def detached(self) -> Self:
        """Return it without the frames that it was raised in: they hold the record, in a cycle with a kept error."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)
