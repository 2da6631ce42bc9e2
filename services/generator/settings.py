"""Settings of the generator."""

from ipaddress import ip_network

from pydantic import Field, field_validator

from codewell.infra.config.settings import CommaSeparated, WorkerSettings


class GeneratorSettings(WorkerSettings):
    """The generator's own."""

    sweep_interval_s: float = Field(
        60.0, ge=0.1, le=3_600, description="How often all programs are looked at, whatever events came (s)."
    )
    remote_concurrency: int = Field(
        8, ge=2, le=256, description="Requests to remote services side by side; one program has half of them at most."
    )
    remote_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="How long one exchange with a remote service may take, all in all (s)."
    )
    remote_give_up_s: float = Field(
        86_400.0,
        ge=1,
        le=30 * 86_400,
        description="How long one request to a remote service is tried again (s); then its codes are ordered anew.",
    )
    remote_allow: CommaSeparated = Field(
        (), description="Networks inside which remote services may be all the same, as 10.1.0.0/16, by commas."
    )

    @field_validator("remote_allow")
    @classmethod
    def _are_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text} must be a network such as 10.1.0.0/16") from error
        return given
