"""Where Kafka is, and how it is spoken to: plainly or by TLS, as nobody, as a user or by a certificate."""

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
    """What every client of one Kafka must know. Its passwords are in no `repr`."""

    bootstrap: str
    """Each as host:port, separated by commas."""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr | None = None
    ca_file: Path | None = None
    """The authorities that are trusted; None trusts the system's."""
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr | None = None

    @classmethod
    def parse(cls, given: "KafkaConfig | str") -> "KafkaConfig":
        """A text names brokers that are spoken to plainly, as those of a stack on this machine are."""
        return cls(given) if isinstance(given, str) else given

    @property
    def with_tls(self) -> bool:
        """Whether what goes over the wire is encrypted, and the broker's certificate and name are checked."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def with_sasl(self) -> bool:
        """Whether a user and a password are shown."""
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @property
    def password(self) -> str:
        """As it is shown, so it is not for logs."""
        return _secret_text(self.sasl_password)

    def client_options(self) -> dict[str, Any]:
        """What a client of aiokafka is made with. Raises SettingsInvalid as `tls` does."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, **self.connection_options()}
        return options

    def connection_options(self) -> dict[str, Any]:
        """What one connection of aiokafka is made with, beside its place. Raises SettingsInvalid as `tls` does."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.tls()}
        if self.with_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.password
        return options

    def tls(self) -> ssl.SSLContext | None:
        """The files are read each time, so that a client that is made anew has the certificates that are there now.

        Raises SettingsInvalid, naming the file, when one can't be used.
        """
        if not self.with_tls:
            return None
        # It demands a certificate of a trusted authority, and checks it against the name that is called.
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
                # Without a password given, OpenSSL would ask whoever sits at the terminal.
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
