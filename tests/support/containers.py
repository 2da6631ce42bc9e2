"""The same Postgres and Kafka from a Docker engine, with CODEWELL_TEST_CONTAINERS=1."""

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from services.standalone.kafka_config import KafkaSettings, server_properties
from services.standalone.ports import free_port

POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.2.0"
KAFKA_PORT = 9092
CONTROLLER_PORT = 9093
KAFKA_TIMEOUT_S = 60


def postgres_container() -> PostgresContainer:
    container = PostgresContainer(
        POSTGRES_IMAGE, username="codewell", password="codewell", dbname="codewell", driver=None
    )
    return container.with_command("postgres -c fsync=off -c max_connections=200 -c wal_level=logical")


def kafka_container() -> tuple[DockerContainer, str]:
    """The container and its bootstrap address; testcontainers' own class only supports another vendor's image."""
    port = free_port()
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(KAFKA_PORT, port)
    for line in server_properties(KafkaSettings(), KAFKA_PORT, CONTROLLER_PORT).splitlines():
        name, _, value = line.partition("=")
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    container.with_env("KAFKA_LISTENERS", f"PLAINTEXT://:{KAFKA_PORT},CONTROLLER://127.0.0.1:{CONTROLLER_PORT}")
    bootstrap = f"{container.get_container_host_ip()}:{port}"
    container.with_env("KAFKA_ADVERTISED_LISTENERS", f"PLAINTEXT://{bootstrap}")
    # Relative to a folder of the image that its user can't write to.
    container.with_env("KAFKA_LOG_DIRS", "/tmp/kafka")
    started = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(KAFKA_TIMEOUT_S)
    return container.waiting_for(started), bootstrap
