"""Settings of processes that deliver events."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from codewell.infra.config.connections import ReadablePath
from codewell.infra.config.settings import StackSettings
from codewell.infra.config.urls import is_local
from schemas import patterns
from schemas.email_address import EmailAddress


class WebhookSettings(StackSettings):
    """Limits of deliveries, and the mail server."""

    webhook_timeout_s: float = Field(
        15.0, ge=0.1, le=60, description="Total timeout of one delivery to a webhook or mail server (s)."
    )
    smtp_host: str | None = Field(
        None, pattern=patterns.HOST, description="Mail server for webhooks of kind email; unset: there are none."
    )
    smtp_port: int = Field(587, ge=1, le=65_535, description="Port of the mail server.")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="TLS of the mail server: starttls, tls from the first byte, or none."
    )
    smtp_username: str = Field("", description="User of the mail server; empty: no login.")
    smtp_password: SecretStr | None = Field(None, description="Password of the mail server.")
    smtp_from: EmailAddress | None = Field(None, description="Sender of e-mails; required by CODEWELL_SMTP_HOST.")
    smtp_ca_file: ReadablePath = Field(
        None, description="CA certificates of the mail server (PEM); unset: the system's."
    )

    @model_validator(mode="after")
    def _check_mail_server(self) -> Self:
        if self.smtp_host is None:
            return self
        if self.smtp_from is None:
            raise ValueError("CODEWELL_SMTP_FROM is not set, and CODEWELL_SMTP_HOST needs it: set the sender's address")
        if self.smtp_tls == "none" and not self.allow_insecure and not is_local(self.smtp_host):
            raise ValueError(
                f"CODEWELL_SMTP_TLS is none, and {self.smtp_host} is another host: use starttls or tls, or set "
                "CODEWELL_ALLOW_INSECURE=true if the network is private"
            )
        return self
