"""A Kafka with TLS listeners like a production broker's, whose certificate is for `localhost`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from services.standalone.home import Home
from services.standalone.jars import class_path, local_repository, pinned_jars
from services.standalone.java import find_java
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings, Listener
from services.standalone.ports import free_port
from tests.support.certificates import Authority

USER = "keeper"
PASSWORD = "kept-to-ourselves"
_JAAS = "org.apache.kafka.common.security"


class SecureKafka(NamedTuple):
    """The ports of its listeners, and its certificate authority."""

    plain: str
    tls: int
    """Requires a client certificate of the authority."""
    sasl: int
    """Authenticates a user by PLAIN and both kinds of SCRAM."""
    elsewhere: int
    """Advertises an address that its certificate does not name."""
    authority: Authority


@asynccontextmanager
async def secure_kafka(home: Home, folder: Path) -> AsyncIterator[SecureKafka]:
    """A Kafka whose certificate is for `localhost`, with one user, USER, and its PASSWORD."""
    authority = Authority(folder, "kafka-authority")
    certificate = authority.issue("localhost", "kafka")
    both = folder / "kafka-both.pem"
    both.write_bytes(certificate.key.read_bytes() + certificate.chain.read_bytes())
    tls, sasl, elsewhere = free_port(), free_port(), free_port()
    more = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{_JAAS}.plain.PlainLoginModule required "
        f'user_{USER}="{PASSWORD}";',
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
    }
    listeners = (
        Listener("SSL", tls, tls, "SSL", "localhost"),
        Listener("SASL_SSL", sasl, sasl, "SASL_SSL", "localhost"),
        Listener("ELSEWHERE", elsewhere, elsewhere, "SSL"),
    )
    broker = KafkaBroker(home, KafkaSettings(listeners=listeners, more=more))
    try:
        plain = await broker.start()
        await asyncio.gather(*(_add_user(plain, bits) for bits in (256, 512)))
        yield SecureKafka(plain, tls, sasl, elsewhere, authority)
    finally:
        await broker.stop()


async def _add_user(bootstrap: str, bits: int) -> None:
    """Store SCRAM credentials with Kafka's tool: the broker keeps them in its own metadata log."""
    jars = os.pathsep.join(str(jar) for jar in class_path(local_repository(), pinned_jars()))
    kept = f"SCRAM-SHA-{bits}=[iterations=4096,password={PASSWORD}]"
    words = ["--bootstrap-server", bootstrap, "--alter", "--entity-type", "users", "--entity-name", USER]
    tool = await asyncio.create_subprocess_exec(
        find_java(), "-Xmx64m", "-cp", jars, "kafka.admin.ConfigCommand", *words, "--add-config", kept,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await tool.communicate()
    assert tool.returncode == 0, said.decode()
