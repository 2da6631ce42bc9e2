"""Settings of the generator."""

from ipaddress import ip_network

from pydantic import Field, field_validator

from codewell.infra.config.settings import CommaSeparated, WorkerSettings


class GeneratorSettings(WorkerSettings):
    """The generator's own settings."""

    sweep_interval_s: float = Field(
        60.0, ge=0.1, le=3_600, description="Interval of the sweep over all programs, independent of events (s)."
    )
    remote_concurrency: int = Field(
        8, ge=2, le=256, description="Maximum concurrent requests to remote services; one program uses at most half."
    )
    remote_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="Total timeout of one request to a remote service (s)."
    )
    remote_give_up_s: float = Field(
        86_400.0,
        ge=1,
        le=30 * 86_400,
        description="Maximum time to retry one request to a remote service (s); then its codes are ordered anew.",
    )
    remote_allow: CommaSeparated = Field(
        (), description="Private networks that remote services may be in, as 10.1.0.0/16, comma-separated."
    )

    @field_validator("remote_allow")
    @classmethod
    def _are_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text} must be a network, such as 10.1.0.0/16") from error
        return given
