"""Settings of the issuer."""

import re
from collections.abc import Iterable
from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from codewell.infra.config.settings import CommaSeparated, WorkerSettings
from schemas import topics

# As Kafka has it. Names that begin with two underscores are Kafka's own.
_TOPIC_NAME: Final = re.compile(r"(?!__)(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")


class IssuerSettings(WorkerSettings):
    """The issuer's own settings."""

    service: ClassVar[str] = "issuer"

    batch_size_max: int = Field(4_000, ge=1, le=50_000, description="Maximum requests decided in one transaction.")
    reply_topics: CommaSeparated = Field(
        (),
        description="Reply topics that requests may name in kafka_replyTopic, comma-separated; `codewell topics` "
        "creates them.",
    )
    retry_delay_s: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="Maximum delay of a redelivery through the retry topic (s); the minimum is half of it.",
    )
    retries_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Redeliveries through the retry topic before a request is refused or dead-lettered.",
    )
    demand_interval_s: float = Field(
        0.25, ge=0.01, le=60, description="Minimum interval between two pool-demand events of a program (s)."
    )
    remote_wait_s: float = Field(
        30.0,
        ge=0.1,
        le=3_600,
        description="Maximum wait of a request without a deadline for a remote program with an empty pool (s).",
    )

    @model_validator(mode="after")
    def _check_reply_topics(self) -> Self:
        check_reply_topics(self.reply_topics, self.topic_prefix)
        return self


def check_reply_topics(names: Iterable[str], prefix: str) -> None:
    """Refuse topics that services read: a sender could have an answer written where it acts as an event.

    Raises ValueError, which names the setting.
    """
    replies = {topics.reply_to(name) for name in topics.REQUESTS}
    internal = {prefix + topic.name for topic in topics.TOPICS if topic.name not in replies}
    for topic in names:
        if topic in internal:
            raise ValueError(
                f"CODEWELL_REPLY_TOPICS is invalid: {topic} is a topic of Codewell's own; name a topic for replies"
            )
        if _TOPIC_NAME.fullmatch(topic) is None:
            raise ValueError(
                f"CODEWELL_REPLY_TOPICS is invalid: {topic[:250]!r} is no name of a topic for replies: 1 to 249 "
                "letters, digits, ., _ and -, not beginning with two underscores"
            )
