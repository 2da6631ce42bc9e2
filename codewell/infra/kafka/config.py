"""Kafka's connection configuration: brokers, plaintext or TLS, and authentication: none, SASL or a certificate."""

import os
import platform
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import SecretStr

from codewell.errors import SettingsInvalid

SecurityProtocol: TypeAlias = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class KafkaConfig:
    """Connection configuration of all clients of one Kafka. Its `repr` contains no password."""

    bootstrap: str
    """Brokers as host:port, comma-separated."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr | None = None
    ca_file: Path | None = None
    """Trusted CAs; None for the system's."""
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr | None = None
    rack: str = ""
    """The rack of this process: consumers read from a replica in it, where there is one."""
    service: str = "client"
    """The service that connects, for `client_id`."""

    @property
    def client_id(self) -> str:
        """The name of this process in the broker's logs, metrics and quotas: its service and its instance."""
        return f"codewell-{self.service}-{platform.node() or 'host'}-{os.getpid()}"

    @classmethod
    def parse(cls, given: "KafkaConfig | str") -> "KafkaConfig":
        """Return the configuration; a text is a list of plaintext brokers, such as those of a local stack."""
        return cls(given) if isinstance(given, str) else given

    @property
    def with_tls(self) -> bool:
        """Whether connections are encrypted, and the broker's certificate and name are checked."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def with_sasl(self) -> bool:
        """Whether clients authenticate with user and password."""
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @property
    def password(self) -> str:
        """The password in clear text; not for logs."""
        return _secret_text(self.sasl_password)

    def client_options(self) -> dict[str, Any]:
        """Arguments for a client of aiokafka. Raises SettingsInvalid as `tls` does."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            **self.connection_options(),
        }
        return options

    def connection_options(self) -> dict[str, Any]:
        """Arguments for one connection of aiokafka, without its address. Raises SettingsInvalid as `tls` does."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.tls()}
        if self.with_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.password
        return options

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, or None without TLS. Reads the files each time, so that new clients get renewed ones.

        Raises SettingsInvalid, naming the file, if one can't be used.
        """
        if not self.with_tls:
            return None
        # The default context requires a certificate from a trusted CA and checks it against the host name.
        context = ssl.create_default_context()
        if self.ca_file is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(self.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise SettingsInvalid(
                    f"CODEWELL_KAFKA_SSL_CA_FILE is invalid: cannot read PEM certificates from {self.ca_file} "
                    f"({_error_text(error)})."
                ) from error
        if self.cert_file is not None:
            try:
                # Without a password argument OpenSSL would prompt on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, _secret_text(self.key_password))
            except (OSError, ssl.SSLError) as error:
                raise SettingsInvalid(
                    f"CODEWELL_KAFKA_SSL_CERT_FILE is invalid: cannot load {self.cert_file} and the key in "
                    f"{self.key_file or 'it'} ({_error_text(error)}): both must be PEM and match each other, and "
                    "CODEWELL_KAFKA_SSL_KEY_PASSWORD must open an encrypted key."
                ) from error
        return context


def _secret_text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _error_text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
