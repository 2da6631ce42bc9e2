"""Settings of the console."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from codewell.alerts.settings import ConsoleAddress
from codewell.imports.settings import ImportSettings
from codewell.infra.config.settings import WorkerSettings
from codewell.infra.config.urls import is_local
from codewell.remote.settings import RemoteSettings
from codewell.webhooks.settings import WebhookSettings
from services.console.oidc.settings import OidcSettings


class ConsoleSettings(WorkerSettings, ConsoleAddress, ImportSettings, RemoteSettings, WebhookSettings, OidcSettings):
    """The console's own settings; it serves its health on its API's port."""

    service: ClassVar[str] = "console"

    api_host: str = Field(
        "127.0.0.1", description="Bind address of the API; another than loopback needs CODEWELL_ALLOW_INSECURE."
    )
    api_port: int = Field(8080, ge=0, le=65_535, description="Port of the API; 0: a free port.")
    connections_max: int = Field(
        500, ge=1, le=100_000, description="Maximum concurrent connections; further ones get 503, except health checks."
    )

    pages: bool = Field(True, description="Serve the web console beside the API.")

    @model_validator(mode="after")
    def _require_public_url(self) -> Self:
        if self.oidc_issuer is not None and self.public_url is None:
            raise ValueError(
                "CODEWELL_PUBLIC_URL is not set, and CODEWELL_OIDC_ISSUER needs it: the provider sends people there"
            )
        return self

    @model_validator(mode="after")
    def _require_private_api(self) -> Self:
        if not self.allow_insecure and not is_local(self.api_host):
            raise ValueError(
                f"CODEWELL_API_HOST is invalid: {self.api_host} is no loopback address, and the API has no TLS: keep "
                "127.0.0.1 behind a proxy with TLS, or set CODEWELL_ALLOW_INSECURE=true if the network is private"
            )
        return self

    misses_per_minute: int = Field(
        60, ge=1, le=1_000_000, description="Maximum look-ups of unknown codes per token and context (1/min)."
    )
    token_misses_per_minute: int = Field(
        300,
        ge=1,
        le=1_000_000,
        description="Maximum look-ups of unknown codes per token in all its contexts (1/min); at least "
        "CODEWELL_MISSES_PER_MINUTE.",
    )
