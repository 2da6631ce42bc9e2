"""What the consume loop for reports needs of the handler of a topic."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from codewell.infra.postgres.connection import Connection
from services.issuer.report_events import ReportedEvent


class Reply(NamedTuple):
    """The answer to a report. A copy of the report gets the same: its id and its time are no other."""

    event_type: str
    event_id: str
    decided_at: datetime
    key: str
    data: str
    """JSON text."""


SETTLED: Final = "settled"
Outcome: TypeAlias = Callable[[], Reply] | Literal["settled"] | None
"""Of a report: what makes its answer; or that it is settled and gets none; or None for one that has to wait.

Answers are made while the database settles the next batch.
"""


class Handler(Protocol):
    """Settles the reports of one topic."""

    @property
    def topic(self) -> str:
        """The topic, without the deployment's prefix."""

    @property
    def retry_delay_s(self) -> float:
        """Maximum delay of a redelivery through the retry topic (s)."""

    async def settle(self, connection: Connection, events: Sequence[ReportedEvent]) -> Sequence[Outcome]:
        """Settle a batch in one transaction: the outcome of each event.

        Only a topic with an answer may have events with one, or events that wait. Idempotent. Raises what asyncpg
        raises, and then has changed nothing.
        """
