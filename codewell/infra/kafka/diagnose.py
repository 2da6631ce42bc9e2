"""Finds out why Kafka refuses a connection: clients only raise that they could not connect, and log the reason."""

import ssl
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from codewell.errors import NotTrusted, StackUnavailable
from codewell.infra.kafka.config import KafkaConfig

PROBE_TIMEOUT_MS: Final = 5_000
# OpenSSL's errors for a valid certificate with another name or address.
_HOST_MISMATCH_CODES: Final = (62, 64)


async def connect_error(kafka_config: KafkaConfig | str) -> StackUnavailable:
    """The error to raise after a client failed to connect, with a message for users."""
    kafka_config = KafkaConfig.parse(kafka_config)
    if kafka_config.with_tls or kafka_config.with_sasl:
        try:
            for host, port, _ in collect_hosts(kafka_config.bootstrap):
                await _probe(kafka_config, host, port)
            # The bootstrap brokers advertise the addresses that clients use next, and these may have other names.
            for host, port in await _advertised_addresses(kafka_config):
                await _probe(kafka_config, host, port)
        except StackUnavailable as refused:
            return refused
        except (KafkaError, OSError, TimeoutError):
            pass
    return unreachable_error(kafka_config)


def unreachable_error(kafka_config: KafkaConfig | str) -> StackUnavailable:
    """The error for a Kafka that does not answer."""
    return StackUnavailable(
        f"Cannot reach Kafka at {KafkaConfig.parse(kafka_config).bootstrap}: start it, or set "
        "CODEWELL_KAFKA_BOOTSTRAP to its address and CODEWELL_KAFKA_SECURITY_PROTOCOL to its protocol."
    )


async def _probe(kafka_config: KafkaConfig, host: str, port: int) -> None:
    """Connect as a client does. Raises StackUnavailable with the reason, NotTrusted if waiting does not help."""
    place = f"Kafka at {host}:{port}"
    try:
        connection = await create_conn(
            host, port, request_timeout_ms=PROBE_TIMEOUT_MS, **kafka_config.connection_options()
        )
    except ssl.SSLCertVerificationError as error:
        raise NotTrusted(_certificate_error_text(place, error)) from error
    except (ssl.SSLError, KafkaConnectionError) as error:
        # A broker that requires a client certificate closes connections without one; so does a stopping broker.
        raise StackUnavailable(
            f"{place} closed the connection ({error}): check CODEWELL_KAFKA_SECURITY_PROTOCOL, and "
            "CODEWELL_KAFKA_SSL_CERT_FILE if it requires a client certificate."
        ) from error
    except UnsupportedSaslMechanismError as error:
        raise NotTrusted(
            f"{place} does not support {kafka_config.sasl_mechanism}: set CODEWELL_KAFKA_SASL_MECHANISM to one it "
            "supports."
        ) from error
    except SaslAuthenticationFailed as error:
        raise NotTrusted(
            f"{place} refused the login of user {kafka_config.sasl_username}: check CODEWELL_KAFKA_SASL_USERNAME, "
            "CODEWELL_KAFKA_SASL_PASSWORD and CODEWELL_KAFKA_SASL_MECHANISM."
        ) from error
    connection.close()


async def _advertised_addresses(kafka_config: KafkaConfig) -> list[tuple[str, int]]:
    client = AIOKafkaClient(request_timeout_ms=PROBE_TIMEOUT_MS, **kafka_config.client_options())
    try:
        await client.bootstrap()
        return [(broker.host, broker.port) for broker in client.cluster.brokers()]
    finally:
        await client.close()


def _certificate_error_text(place: str, error: ssl.SSLCertVerificationError) -> str:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _HOST_MISMATCH_CODES:
        return (
            f"The certificate of {place} is for another host name ({why}): use the name in its certificate in "
            "CODEWELL_KAFKA_BOOTSTRAP and in its advertised.listeners."
        )
    return (
        f"The certificate of {place} is not trusted ({why}): "
        "set CODEWELL_KAFKA_SSL_CA_FILE to the certificate of its CA."
    )
