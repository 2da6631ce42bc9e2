"""Kafka by TLS: every client that we make comes in, and what can't be trusted is refused in words that say why."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from codewell.client.exchange import build_request, open_exchange
from codewell.errors import NotTrusted, SettingsInvalid, StackUnavailable
from codewell.infra.kafka import clients
from codewell.infra.kafka.config import KafkaConfig, SaslMechanism
from codewell.infra.kafka.reading import OffsetRange
from codewell.infra.kafka.topics import create_topics
from codewell.recovery import dead_letters
from codewell_client import AnswerTimeout, KafkaUnavailable, MessageRender, Sender
from schemas.topics import REQUESTS
from tests.support.certificates import Authority
from tests.support.secure_kafka import PASSWORD, USER, SecureKafka

TOPIC = REQUESTS[0]
MECHANISMS: list[SaslMechanism] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def with_password(kafka: SecureKafka, **changed: Any) -> KafkaConfig:
    given = {"sasl_username": USER, "sasl_password": SecretStr(PASSWORD), "ca_file": kafka.authority.file}
    return KafkaConfig(**{"bootstrap": f"localhost:{kafka.sasl}", "security_protocol": "SASL_SSL", **given, **changed})


def with_certificate(kafka: SecureKafka, authority: Authority, password: str | None = None) -> KafkaConfig:
    certificate = authority.issue("client", "client", password)
    return KafkaConfig(
        f"localhost:{kafka.tls}",
        "SSL",
        ca_file=kafka.authority.file,
        cert_file=certificate.chain,
        key_file=certificate.key,
        key_password=None if password is None else SecretStr(password),
    )


async def refused(kafka_config: KafkaConfig, *words: str, kind: type[StackUnavailable] = NotTrusted) -> None:
    """Each way to connect says the same: no wait for what waiting won't mend, and no password in the sentence."""
    async with asyncio.timeout(20):
        for connect in (
            clients.admin(kafka_config),
            clients.started_producer(kafka_config),
            open_exchange(kafka_config, ""),
        ):
            with pytest.raises(kind) as raised:
                await connect.__aenter__()
            assert type(raised.value) is kind
            assert all(word in str(raised.value) for word in words), raised.value
            assert PASSWORD not in str(raised.value)


async def comes_in(kafka_config: KafkaConfig) -> None:
    async with clients.admin(kafka_config) as admin:
        assert (await admin.describe_cluster())["brokers"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_user_comes_in(kafka: SecureKafka, mechanism: SaslMechanism) -> None:
    await comes_in(with_password(kafka, sasl_mechanism=mechanism))


@pytest.mark.parametrize("password", [None, "sesame"])
async def test_a_certificate_comes_in(kafka: SecureKafka, password: str | None) -> None:
    await comes_in(with_certificate(kafka, kafka.authority, password))


async def test_every_client_comes_in(kafka: SecureKafka, caplog: pytest.LogCaptureFixture) -> None:
    kafka_config, prefix = with_password(kafka), f"t{uuid4().hex[:8]}."
    caplog.set_level(logging.DEBUG)
    await create_topics(kafka_config, prefix)
    sent = build_request(TOPIC, {"profile_id": "p-1", "programs": ["SPRING"]})

    async with open_exchange(kafka_config, prefix) as opened:
        await opened.publish([sent])
    consumer = clients.consumer(kafka_config, f"{prefix}group")
    consumer.subscribe([prefix + TOPIC])
    await consumer.start()
    async with asyncio.timeout(20):
        read = await consumer.getone()
    await consumer.stop()
    assert read.value == sent.value
    async with dead_letters.open_dead_letters(kafka_config, prefix) as letters:
        assert set(letters.offset_ranges.values()) == {OffsetRange(0, 0)}
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_wrong_password(kafka: SecureKafka, mechanism: SaslMechanism) -> None:
    kafka_config = with_password(kafka, sasl_mechanism=mechanism, sasl_password=SecretStr("guessed"))
    await refused(kafka_config, f"refused the login of user {USER}", "CODEWELL_KAFKA_SASL_PASSWORD")


async def test_a_wrong_authority(kafka: SecureKafka, stranger: Authority) -> None:
    for ca_file in (stranger.file, None):
        await refused(with_password(kafka, ca_file=ca_file), "not trusted", "CODEWELL_KAFKA_SSL_CA_FILE")


async def test_a_wrong_name(kafka: SecureKafka) -> None:
    kafka_config = with_password(kafka, bootstrap=f"127.0.0.1:{kafka.sasl}")
    await refused(kafka_config, f"127.0.0.1:{kafka.sasl} is for another host name", "CODEWELL_KAFKA_BOOTSTRAP")


async def test_a_broker_that_says_it_is_elsewhere(kafka: SecureKafka) -> None:
    kafka_config = KafkaConfig(f"localhost:{kafka.elsewhere}", "SSL", ca_file=kafka.authority.file)
    with pytest.raises(NotTrusted, match=rf"127.0.0.1:{kafka.elsewhere} .* another host name .* advertised.listeners"):
        await clients.wait_until_up(kafka_config, [], 60)


async def test_a_certificate_that_the_broker_does_not_know(kafka: SecureKafka, stranger: Authority) -> None:
    none = KafkaConfig(f"localhost:{kafka.tls}", "SSL", ca_file=kafka.authority.file)
    for kafka_config in (with_certificate(kafka, stranger), none):
        await refused(kafka_config, "closed the connection", "CODEWELL_KAFKA_SSL_CERT_FILE", kind=StackUnavailable)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda kafka: KafkaConfig(f"localhost:{kafka.sasl}"), id="plainly to TLS"),
        pytest.param(lambda kafka: with_password(kafka, bootstrap=kafka.plain), id="TLS to plain"),
        pytest.param(lambda kafka: with_password(kafka, security_protocol="SSL"), id="no user"),
        pytest.param(lambda kafka: with_password(kafka, security_protocol="SASL_PLAINTEXT"), id="a user without TLS"),
    ],
)
async def test_another_protocol(kafka: SecureKafka, changed: Callable[[SecureKafka], KafkaConfig]) -> None:
    await refused(changed(kafka), "CODEWELL_KAFKA_SECURITY_PROTOCOL", kind=StackUnavailable)


async def test_what_waiting_does_not_mend_is_said_at_once(kafka: SecureKafka) -> None:
    kafka_config = with_password(kafka, sasl_password=SecretStr("guessed"))
    async with asyncio.timeout(20):
        with pytest.raises(NotTrusted):
            await clients.wait_until_up(kafka_config, [], timeout_s=600)


async def test_a_locked_key_is_not_asked_for_at_the_terminal(kafka: SecureKafka) -> None:
    locked = kafka.authority.issue("client", "locked", "sesame")
    kafka_config = KafkaConfig("localhost:1", "SSL", cert_file=locked.chain, key_file=locked.key)
    with pytest.raises(SettingsInvalid, match="CODEWELL_KAFKA_SSL_KEY_PASSWORD"):
        kafka_config.tls()


def test_passwords_are_in_no_repr(kafka: SecureKafka) -> None:
    assert PASSWORD not in repr(with_password(kafka, key_password=SecretStr(PASSWORD)))


async def test_a_sender_comes_in_with_its_password(kafka: SecureKafka) -> None:
    kafka_config = with_password(kafka)
    await create_topics(kafka_config, "sender.", 1)
    async with Sender(kafka_config.bootstrap, topic_prefix="sender.", kafka=kafka_config.client_options()) as sender:
        request = MessageRender(profile_id="p-1", campaign_id="spring", programs=["A"])
        # No issuer runs: the request is stored, and its answer does not come.
        with pytest.raises(AnswerTimeout):
            await sender.ask(request, timeout_s=1)
    with pytest.raises(KafkaUnavailable) as raised:
        async with Sender(f"localhost:{kafka.sasl}", kafka=with_password(kafka, sasl_username="no").client_options()):
            raise AssertionError
    assert PASSWORD not in str(raised.value)
