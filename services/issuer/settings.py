"""Settings of the issuer."""

from pydantic import Field

from codewell.infra.config.settings import CommaSeparated, WorkerSettings


class IssuerSettings(WorkerSettings):
    """The issuer's own."""

    batch_size_max: int = Field(4_000, ge=1, le=50_000, description="Requests decided in one transaction, at most.")
    reply_topics: CommaSeparated = Field(
        (), description="Topics that a request may name in kafka_replyTopic, separated by commas."
    )
    retry_delay_s: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="How long a request waits in a retry topic, at most, before it is tried again (s); half at least.",
    )
    retries_max: int = Field(
        10_000, ge=1, le=1_000_000, description="How often a request waits; then it is refused or a dead letter."
    )
    demand_interval_s: float = Field(
        0.25, ge=0.01, le=60, description="The least time between two pool-demand events of a program (s)."
    )
    remote_wait_s: float = Field(
        30.0,
        ge=0.1,
        le=3_600,
        description="How long a request without a deadline waits for the remote service of an empty program (s).",
    )
