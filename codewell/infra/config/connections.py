"""Settings of the connections to Postgres and Kafka: addresses, credentials and TLS.

A connection to another host uses TLS with a check of the server's certificate and name. Without it the settings are
refused, unless `allow_insecure` is set.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from codewell.infra.config.urls import (
    SSL_MODES,
    broker_hosts,
    is_local,
    postgres_hosts,
    postgres_options,
    split_postgres_url,
    with_password,
)
from codewell.infra.kafka.config import KafkaConfig, SaslMechanism, SecurityProtocol
from schemas import patterns

_HOST: Final = r"(\[[0-9a-fA-F:]+\]|[^\s,/@?#:\[\]]+)(:\d{1,5})?"
_HOSTS: Final = rf"{_HOST}(,{_HOST})*"
# No @ or # after the host: a password that is not percent-encoded would be parsed as the host, and be logged.
_POSTGRES_URL: Final = re.compile(rf"postgres(ql)?://([^\s/@?#]*@)?({_HOSTS})?(/[^\s?@#]*)?(\?[^\s@#]*)?")
_PORT_MAX: Final = 65_535
_POSTGRES_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OR_ALLOW_INSECURE: Final = "or set CODEWELL_ALLOW_INSECURE=true if the network is private"


def _check_readable(given: object) -> object:
    """Check that a file is readable. Errors of later users are less clear. An empty text means no file."""
    if given in (None, ""):
        return None
    try:
        with Path(str(given)).open("rb"):
            return given
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise ValueError(f"cannot read {str(given)!r} ({why})") from error


def _is_postgres_url(given: str) -> bool:
    try:
        user, at, hosts = split_postgres_url(given).netloc.rpartition("@")
        for host in hosts.split(","):
            # Reading a port that is too large raises an error.
            _ = urlsplit(f"//{user}{at}{host}").port
    except ValueError:
        # The parser's error quotes the URL with its password.
        return False
    return bool(_POSTGRES_URL.fullmatch(given))


ReadablePath = Annotated[Path | None, BeforeValidator(_check_readable)]


class ConnectionSettings(BaseSettings):
    """Connection settings of every process."""

    postgres_url: SecretStr = Field(
        min_length=1, description="URL of Postgres, as postgresql://user:password@host:port/database."
    )
    postgres_password: SecretStr | None = Field(None, description="Password of Postgres; replaces the one in the URL.")
    kafka_bootstrap: str = Field(
        pattern=patterns.BOOTSTRAP, description="Kafka bootstrap brokers, as host:port, comma-separated."
    )
    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="Kafka security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512", description="SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_sasl_username: str = Field("", description="SASL user name; required by SASL_PLAINTEXT and SASL_SSL.")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_ssl_ca_file: ReadablePath = Field(
        None, description="PEM file of the CAs that sign the brokers' certificates; default: the system's CAs."
    )
    kafka_ssl_cert_file: ReadablePath = Field(None, description="PEM file of the client certificate and its chain.")
    kafka_ssl_key_file: ReadablePath = Field(
        None, description="PEM file of the private key, if the certificate's file does not hold it."
    )
    kafka_ssl_key_password: SecretStr | None = Field(None, description="Passphrase of the private key.")
    kafka_client_rack: str = Field(
        "",
        description="Rack of this process, as `broker.rack` names it: requests are read from a replica there, where "
        "the brokers choose by rack; default: from the leader.",
    )
    allow_insecure: bool = Field(
        False,
        description="Allow connections to Postgres and Kafka on other hosts without verified TLS, and an API on other "
        "addresses than loopback.",
    )

    # The name of the process in Kafka; each service has its own.
    service: ClassVar[str] = "command"

    @property
    def kafka_config(self) -> KafkaConfig:
        """The configuration of all Kafka clients."""
        return KafkaConfig(
            bootstrap=self.kafka_bootstrap,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password,
            ca_file=self.kafka_ssl_ca_file,
            cert_file=self.kafka_ssl_cert_file,
            key_file=self.kafka_ssl_key_file,
            key_password=self.kafka_ssl_key_password,
            rack=self.kafka_client_rack,
            service=self.service,
        )

    @model_validator(mode="before")
    @classmethod
    def _merge_password_into_url(cls, given: dict[str, Any]) -> dict[str, Any]:
        url, password = given.get("postgres_url"), given.get("postgres_password")
        if password and isinstance(url, str) and isinstance(password, str) and _is_postgres_url(url):
            return {**given, "postgres_url": with_password(url, password)}
        return given

    @field_validator("postgres_url")
    @classmethod
    def _check_postgres_url(cls, given: SecretStr) -> SecretStr:
        url = given.get_secret_value()
        if not _is_postgres_url(url):
            raise ValueError(
                "must be like postgresql://user:password@host:5432/database; percent-encode the password (%23 for #)"
            )
        options = postgres_options(url)
        if options.get("sslmode", SSL_MODES[0]) not in SSL_MODES:
            raise ValueError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
        for name in _POSTGRES_FILES:
            try:
                _check_readable(options.get(name))
            except ValueError as error:
                raise ValueError(f"its {name}: {error}") from error
        return given

    @field_validator("kafka_bootstrap")
    @classmethod
    def _check_ports(cls, given: str) -> str:
        if any(int(broker.rpartition(":")[2]) > _PORT_MAX for broker in given.split(",")):
            raise ValueError(f"a port is at most {_PORT_MAX}")
        return given

    @model_validator(mode="after")
    def _check_kafka_settings(self) -> Self:
        kafka_config = self.kafka_config
        name = "CODEWELL_KAFKA_SECURITY_PROTOCOL"
        if kafka_config.with_sasl and not (kafka_config.sasl_username and kafka_config.sasl_password):
            raise ValueError(
                f"{name} is {kafka_config.security_protocol}, which needs a user and a password: set "
                "CODEWELL_KAFKA_SASL_USERNAME and "
                "CODEWELL_KAFKA_SASL_PASSWORD."
            )
        if kafka_config.sasl_username and not kafka_config.with_sasl:
            raise ValueError(
                f"CODEWELL_KAFKA_SASL_USERNAME is set, but {name} is {kafka_config.security_protocol}: "
                "set it to SASL_SSL."
            )
        if (kafka_config.ca_file or kafka_config.cert_file) and not kafka_config.with_tls:
            raise ValueError(
                f"Certificates for Kafka are set, but {name} is {kafka_config.security_protocol}: "
                "set it to SSL or SASL_SSL."
            )
        if kafka_config.key_file and not kafka_config.cert_file:
            raise ValueError("CODEWELL_KAFKA_SSL_KEY_FILE is set: set CODEWELL_KAFKA_SSL_CERT_FILE too.")
        kafka_config.tls()
        return self

    @model_validator(mode="after")
    def _require_verified_tls(self) -> Self:
        if self.allow_insecure:
            return self
        url = self.postgres_url.get_secret_value()
        for host in [*postgres_hosts(url)] or os.environ.get("PGHOST", "localhost").split(","):
            if not is_local(host) and postgres_options(url).get("sslmode") != "verify-full":
                raise ValueError(
                    f"CODEWELL_POSTGRES_URL is invalid: {host} is another host, so the connection needs "
                    f"verified TLS: add ?sslmode=verify-full&sslrootcert=FILE with its CA, {_OR_ALLOW_INSECURE}."
                )
        for host in broker_hosts(self.kafka_bootstrap):
            if not is_local(host) and not self.kafka_config.with_tls:
                raise ValueError(
                    f"CODEWELL_KAFKA_SECURITY_PROTOCOL is invalid: {host} is another host, so the connection "
                    f"needs verified TLS: set SSL or SASL_SSL, and CODEWELL_KAFKA_SSL_CA_FILE, {_OR_ALLOW_INSECURE}."
                )
        return self
