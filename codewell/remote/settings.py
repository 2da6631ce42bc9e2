"""Settings of processes that call remote services."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import Field, field_validator

from codewell.infra.config.settings import CommaSeparated, StackSettings

Network = IPv4Network | IPv6Network


class RemoteSettings(StackSettings):
    """Limits on calls of remote services."""

    remote_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="Total timeout of one request to a remote service (s)."
    )
    remote_allow: CommaSeparated = Field(
        (),
        description="Private networks that remote services and webhook receivers may be in, as 10.1.0.0/16, "
        "comma-separated.",
    )

    @field_validator("remote_allow")
    @classmethod
    def _are_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text[:100]!r} must be a network, such as 10.1.0.0/16") from error
        return given

    @property
    def remote_networks(self) -> Sequence[Network]:
        """The networks of `remote_allow`."""
        return [ip_network(text) for text in self.remote_allow]
