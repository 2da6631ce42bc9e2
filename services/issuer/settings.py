"""Settings of the issuer."""

from pydantic import Field

from codewell.infra.config.settings import CommaSeparated, WorkerSettings


class IssuerSettings(WorkerSettings):
    """The issuer's own settings."""

    batch_size_max: int = Field(4_000, ge=1, le=50_000, description="Maximum requests decided in one transaction.")
    reply_topics: CommaSeparated = Field(
        (), description="Reply topics that requests may name in kafka_replyTopic, comma-separated."
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
