"""Settings of connections: what leaves this machine goes by TLS, and settings that don't fit are named."""

import os
from pathlib import Path

import pytest

from codewell.errors import SettingsInvalid
from codewell.infra.config.settings import StackSettings, read_settings
from tests.support.certificates import Authority

URL, BOOTSTRAP = "CODEWELL_POSTGRES_URL", "CODEWELL_KAFKA_BOOTSTRAP"
PROTOCOL = "CODEWELL_KAFKA_SECURITY_PROTOCOL"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith(("CODEWELL_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CODEWELL_HOME", str(tmp_path))
    monkeypatch.setenv(URL, "postgresql://localhost/codewell")
    monkeypatch.setenv(BOOTSTRAP, "localhost:9092")
    return monkeypatch


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refused(*words: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(StackSettings)
    said = str(raised.value)
    assert all(word in said for word in words), said
    assert said.startswith(("CODEWELL_", "Certificates"))
    assert said.endswith(".")
    assert not said.endswith("..")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/db", "postgresql://u:p@127.0.0.1:5432/db", "postgresql://[::1]:5432/db",
        "postgresql://127.9.9.9,localhost:1/db", "postgresql:///db?host=/run/postgresql", "postgresql:///db",
        "postgresql://db/db?sslmode=verify-full",
    ],
)  # fmt: skip
def test_a_database_that_may_be_spoken_to(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv(URL, url)
    read_settings(StackSettings)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://db/db", "db"), ("postgresql://u:p@10.0.0.1:5432/db", "10.0.0.1"),
        ("postgresql://[fd00::1]:5432/db", "fd00::1"), ("postgresql://localhost,db:5432/db", "db"),
        ("postgresql:///db?host=db", "db"), ("postgresql://localhost/db?host=db", "db"),
        ("postgresql://db/db?sslmode=require", "db"), ("postgresql://db/db?sslmode=verify-ca", "db"),
        ("postgresql://localhost.example/db", "localhost.example"), ("postgresql://u@db/db", "db"),
    ],
)  # fmt: skip
def test_a_database_elsewhere_must_be_known_by_its_certificate(
    environment: pytest.MonkeyPatch, url: str, host: str
) -> None:
    environment.setenv(URL, url)

    refused(URL, f" {host} is another host", "sslmode=verify-full", "CODEWELL_ALLOW_INSECURE")
    environment.setenv("CODEWELL_ALLOW_INSECURE", "true")
    read_settings(StackSettings)


def test_a_host_that_only_libpq_knows_of_counts(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(URL, "postgresql:///db")
    environment.setenv("PGHOST", "db")

    refused(URL, "db is another host")


@pytest.mark.parametrize("bootstrap", ["kafka:9092", "localhost:1, 10.0.0.1:9092", "[fd00::1]:9092"])
@pytest.mark.parametrize("sasl", [False, True])
def test_brokers_elsewhere_must_be_known_by_their_certificate(
    environment: pytest.MonkeyPatch, bootstrap: str, sasl: bool
) -> None:
    environment.setenv(BOOTSTRAP, bootstrap)
    if sasl:
        environment.setenv(PROTOCOL, "SASL_PLAINTEXT")
        environment.setenv("CODEWELL_KAFKA_SASL_USERNAME", "shop")
        environment.setenv("CODEWELL_KAFKA_SASL_PASSWORD", "secret")

    refused(PROTOCOL, "is another host", "SASL_SSL", "CODEWELL_ALLOW_INSECURE")
    environment.setenv("CODEWELL_ALLOW_INSECURE", "true")
    read_settings(StackSettings)
    environment.setenv("CODEWELL_ALLOW_INSECURE", "false")
    environment.setenv(PROTOCOL, "SASL_SSL" if sasl else "SSL")
    assert read_settings(StackSettings).kafka_config.tls() is not None


@pytest.mark.parametrize("bootstrap", ["localhost:1", "127.0.0.1:1,[::1]:2"])
def test_brokers_of_this_machine_may_be_spoken_to_plainly(environment: pytest.MonkeyPatch, bootstrap: str) -> None:
    environment.setenv(BOOTSTRAP, bootstrap)
    kafka_config = read_settings(StackSettings).kafka_config
    assert kafka_config.client_options() == {
        "bootstrap_servers": bootstrap, "client_id": kafka_config.client_id, "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, (PROTOCOL,)),
        ({"SASL_MECHANISM": "GSSAPI"}, ("CODEWELL_KAFKA_SASL_MECHANISM",)),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, ("CODEWELL_KAFKA_SASL_USERNAME",)),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "shop"}, ("CODEWELL_KAFKA_SASL_PASSWORD",)),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_PASSWORD": "secret"}, ("CODEWELL_KAFKA_SASL_USERNAME",)),
        ({"SASL_USERNAME": "shop", "SASL_PASSWORD": "secret"}, (PROTOCOL, "SASL_SSL")),
        ({"SSL_CA_FILE": "{authority}"}, (PROTOCOL, "SSL or SASL_SSL")),
        ({"SSL_CERT_FILE": "{chain}"}, (PROTOCOL, "SSL or SASL_SSL")),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": "{key}"}, ("CODEWELL_KAFKA_SSL_CERT_FILE",)),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/nowhere"}, ("CODEWELL_KAFKA_SSL_CA_FILE", "/nowhere")),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/etc"}, ("CODEWELL_KAFKA_SSL_CA_FILE", "/etc")),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "{key}"}, ("CODEWELL_KAFKA_SSL_CA_FILE", "PEM")),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "{chain}"}, ("CODEWELL_KAFKA_SSL_CERT_FILE", "key")),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "{authority}", "SSL_KEY_FILE": "{key}"}, ("match each other",)),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "{chain}", "SSL_KEY_FILE": "{locked}"},
         ("CODEWELL_KAFKA_SSL_KEY_PASSWORD",)),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": "{chain}", "SSL_KEY_FILE": "{locked}",
          "SSL_KEY_PASSWORD": "wrong"}, ("CODEWELL_KAFKA_SSL_KEY_PASSWORD",)),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit(
    environment: pytest.MonkeyPatch, authority: Authority, variables: dict[str, str], words: tuple[str, ...]
) -> None:
    made, locked = authority.issue("client", "client"), authority.issue("client", "locked", "sesame")
    places = {"authority": authority.file, "chain": made.chain, "key": made.key, "locked": locked.key}
    for name, value in variables.items():
        environment.setenv(f"CODEWELL_KAFKA_{name}", value.format(**places))

    refused(*words)


def test_an_empty_file_name_names_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_KAFKA_SSL_CA_FILE", "")
    assert read_settings(StackSettings).kafka_config.ca_file is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sslmode=verify_full", ("sslmode", "verify-full")),
        ("sslmode=verify-full&sslrootcert=/nowhere", ("sslrootcert", "cannot read '/nowhere'")),
        ("sslkey=/nowhere", ("sslkey",)),
    ],
)
def test_options_of_a_url(environment: pytest.MonkeyPatch, options: str, words: tuple[str, ...]) -> None:
    environment.setenv(URL, f"postgresql://u:hunter2@localhost/db?{options}")

    refused(URL, *words)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(StackSettings)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (URL, "postgresql://localhost:65536/db"),
        (URL, "postgresql://u:p@localhost:5432,[::1]:99999/db"),
        (BOOTSTRAP, "localhost:65536"),
        (BOOTSTRAP, "localhost:9092, 127.0.0.1:99999"),
    ],
)
def test_a_port_that_no_host_has(environment: pytest.MonkeyPatch, name: str, given: str) -> None:
    environment.setenv(name, given)
    refused(name)
