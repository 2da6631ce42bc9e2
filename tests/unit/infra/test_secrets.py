"""Secrets come from the environment or from files, and are shown by nothing."""

import json
import logging
import os
import traceback
from base64 import b64encode
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from codewell.errors import SettingsInvalid
from codewell.infra.config.secret_files import SECRET_BYTES_MAX, is_secret
from codewell.infra.config.settings import StackSettings, read_settings
from codewell.infra.telemetry.logs import configure
from services.cli import codewell
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings

KEY = b64encode(b"k" * 32).decode()
SECRETS = {
    "POSTGRES_URL": "postgresql://shop:hunter2@localhost:5432/codewell?sslmode=disable&sslpassword=hunter3",
    "POSTGRES_PASSWORD": "hunter 4",
    "KAFKA_SASL_PASSWORD": "hunter5",
    "KAFKA_SSL_KEY_PASSWORD": "hunter6",
    "MASTER_KEY": KEY,
    "MASTER_KEY_PREVIOUS": KEY,
    "OIDC_CLIENT_SECRET": "hunter7",
    "SMTP_PASSWORD": "hunter8",
}
SHOWN_NOWHERE = ("hunter", KEY)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith(("CODEWELL_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CODEWELL_HOME", str(tmp_path))
    monkeypatch.setenv("CODEWELL_POSTGRES_URL", SECRETS["POSTGRES_URL"])
    monkeypatch.setenv("CODEWELL_KAFKA_BOOTSTRAP", "localhost:9092")
    monkeypatch.setenv("CODEWELL_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CODEWELL_KAFKA_SASL_USERNAME", "shop")
    monkeypatch.setenv("CODEWELL_KAFKA_SASL_PASSWORD", SECRETS["KAFKA_SASL_PASSWORD"])
    return monkeypatch


def as_files(environment: pytest.MonkeyPatch, folder: Path, end: str = "\n") -> None:
    for name, value in SECRETS.items():
        (folder / name).write_text(value + end)
        environment.delenv(f"CODEWELL_{name}", raising=False)
        environment.setenv(f"CODEWELL_{name}_FILE", str(folder / name))


def as_variables(environment: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        environment.setenv(f"CODEWELL_{name}", value)


def test_these_are_all_secrets_that_there_are() -> None:
    kinds = (IssuerSettings, GeneratorSettings, ConsoleSettings)
    found = {name.upper() for kind in kinds for name, field in kind.model_fields.items() if is_secret(field)}
    assert found == SECRETS.keys()


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_says_what_a_variable_would(environment: pytest.MonkeyPatch, tmp_path: Path, end: str) -> None:
    as_variables(environment)
    from_variables = read_settings(IssuerSettings)
    for name in SECRETS:
        environment.delenv(f"CODEWELL_{name}")
    as_files(environment, tmp_path, end)

    assert read_settings(IssuerSettings) == from_variables


def test_the_password_of_its_own_stands_in_the_url(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_POSTGRES_PASSWORD", "p@ss/w?rd #1")
    for url in ("postgresql://shop@[::1]:5432/db", "postgresql://shop:old@[::1]:5432/db"):
        environment.setenv("CODEWELL_POSTGRES_URL", url)
        expected = "postgresql://shop:p%40ss%2Fw%3Frd%20%231@[::1]:5432/db"
        assert read_settings(StackSettings).postgres_url.get_secret_value() == expected


def refused(*words: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(StackSettings)
    said = "".join(traceback.format_exception(raised.value))
    assert all(word in str(raised.value) for word in words), said
    assert not any(secret in said for secret in SHOWN_NOWHERE)


def test_a_secret_is_given_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_files(environment, tmp_path)
    environment.setenv("CODEWELL_MASTER_KEY", KEY)
    refused("CODEWELL_MASTER_KEY and CODEWELL_MASTER_KEY_FILE are both set", "keep one")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ("cannot read", "(No such file or directory)",)), (b"", ("is empty",)), (b"\r\n", ("is empty",)),
        (b"hunter\xff", ("is not UTF-8 text",)), (b"x" * SECRET_BYTES_MAX + b"\n", ("is larger than 64 KiB",)),
    ],
)  # fmt: skip
def test_a_file_that_is_no_secret(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, words: tuple[str, ...]
) -> None:
    as_files(environment, tmp_path)
    if content is None:
        (tmp_path / "KAFKA_SASL_PASSWORD").unlink()
    else:
        (tmp_path / "KAFKA_SASL_PASSWORD").write_bytes(content)
    refused("CODEWELL_KAFKA_SASL_PASSWORD_FILE is invalid", str(tmp_path / "KAFKA_SASL_PASSWORD"), *words)


def test_the_longest_secret(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_files(environment, tmp_path)
    (tmp_path / "KAFKA_SASL_PASSWORD").write_bytes(b"x" * SECRET_BYTES_MAX)
    assert read_settings(StackSettings).kafka_config.password == "x" * SECRET_BYTES_MAX


def test_a_folder_is_no_secret(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    as_files(environment, tmp_path)
    environment.setenv("CODEWELL_MASTER_KEY_FILE", str(tmp_path))
    refused("CODEWELL_MASTER_KEY_FILE is invalid", "Is a directory")


def test_an_empty_name_of_a_file_names_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_MASTER_KEY_FILE", "")
    assert read_settings(StackSettings).master_key is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:hunt#er2@localhost/db", "postgresql://shop:hunt/er2@localhost/db",
        "postgresql://shop:1?hunter2@localhost/db", "postgresql://shop:1/hunter2@localhost/db",
        "postgresql://shop:hunter2\uff20@localhost/db", "postgresql://shop:hunter2@[::1/db",
    ],
)  # fmt: skip
def test_a_password_that_is_not_encoded_is_not_taken_for_something_else(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    for password in (None, "other"):
        environment.setenv("CODEWELL_POSTGRES_URL", url)
        if password:
            environment.setenv("CODEWELL_POSTGRES_PASSWORD", password)
        refused("CODEWELL_POSTGRES_URL is invalid", "postgresql://user:password@host")


@pytest.mark.parametrize("kind", [IssuerSettings, GeneratorSettings, ConsoleSettings])
def test_nothing_that_python_prints_has_a_secret(environment: pytest.MonkeyPatch, kind: type[StackSettings]) -> None:
    as_variables(environment)
    settings = read_settings(kind)
    for said in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.kafka_config)):
        assert not any(secret in said for secret in SHOWN_NOWHERE), said


def test_a_traceback_in_the_log_has_no_secret(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_variables(environment)
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure("test", "debug")
        settings = read_settings(StackSettings)
        url, password = settings.postgres_url.get_secret_value(), settings.kafka_config.password
        try:
            int(url[:4] + password[:0])
        except ValueError:
            structlog.get_logger().exception("failed", settings=settings, kafka_config=settings.kafka_config)
            logging.getLogger("aiokafka").exception("failed")
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    said = capsys.readouterr().err
    assert said.count("ValueError") == 2, said
    assert not any(secret in said for secret in SHOWN_NOWHERE), said


SNAPSHOT = """\
variable                          value                                                                          source
CODEWELL_POSTGRES_URL             {url:<77}  {secrets}
CODEWELL_POSTGRES_PASSWORD        ********                                                                       {secrets}
CODEWELL_KAFKA_BOOTSTRAP          localhost:9092                                                                 stack
CODEWELL_KAFKA_SECURITY_PROTOCOL  SASL_SSL                                                                       environment
CODEWELL_KAFKA_SASL_MECHANISM     SCRAM-SHA-512                                                                  default
CODEWELL_KAFKA_SASL_USERNAME      shop                                                                           environment
CODEWELL_KAFKA_SASL_PASSWORD      ********                                                                       {secrets}
CODEWELL_KAFKA_SSL_CA_FILE        -                                                                              default
CODEWELL_KAFKA_SSL_CERT_FILE      -                                                                              default
CODEWELL_KAFKA_SSL_KEY_FILE       -                                                                              default
CODEWELL_KAFKA_SSL_KEY_PASSWORD   ********                                                                       {secrets}
CODEWELL_KAFKA_CLIENT_RACK        -                                                                              default
CODEWELL_ALLOW_INSECURE           false                                                                          default
CODEWELL_TOPIC_PREFIX             -                                                                              default
CODEWELL_MASTER_KEY               ********                                                                       {secrets}
CODEWELL_MASTER_KEY_PREVIOUS      ********                                                                       {secrets}
"""  # noqa: E501


@pytest.mark.parametrize("secrets", ["environment", "file"])
def test_what_config_show_says(environment: pytest.MonkeyPatch, tmp_path: Path, secrets: str) -> None:
    environment.delenv("CODEWELL_KAFKA_BOOTSTRAP")
    (tmp_path / "endpoints.json").write_text('{"kafka_bootstrap": "localhost:9092", "postgres_url": "postgresql://x"}')
    if secrets == "file":
        as_files(environment, tmp_path)
    else:
        as_variables(environment)
    url = "postgresql://shop:********@localhost:5432/codewell?sslmode=disable&sslpassword=********"

    said = CliRunner().invoke(codewell, ["config", "show", "issuer"], catch_exceptions=False).output
    lines = [" ".join(line.split()) for line in said.splitlines()]
    expected = [" ".join(line.split()) for line in SNAPSHOT.format(url=url, secrets=secrets).splitlines()]
    assert lines[: len(expected)] == expected
    assert not any(secret in said for secret in SHOWN_NOWHERE), said


@pytest.mark.parametrize("process", ["issuer", "generator", "console", None])
def test_config_show_for_machines(environment: pytest.MonkeyPatch, process: str | None) -> None:
    as_variables(environment)
    environment.setenv("CODEWELL_REPLY_TOPICS", "a,b")
    words = [] if process is None else [process]

    said = CliRunner().invoke(codewell, ["config", "show", *words, "--json"], catch_exceptions=False).output
    shown = json.loads(said)
    assert shown["CODEWELL_GUESSES_PER_S"] == {"value": 10.0, "source": "default"}
    assert shown["CODEWELL_MASTER_KEY"] == {"value": "********", "source": "environment"}
    assert ("CODEWELL_REPLY_TOPICS" in shown) == (process == "issuer")
    if process == "issuer":
        assert shown["CODEWELL_REPLY_TOPICS"] == {"value": "a,b", "source": "environment"}
    assert not any(secret in said for secret in SHOWN_NOWHERE), said


def test_config_show_refuses_what_is_wrong_as_a_process_would(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_KAFKA_SASL_MECHANISM", "GSSAPI")
    said = CliRunner().invoke(codewell, ["config", "show", "issuer"])
    assert said.exit_code == 1
    assert said.output.startswith("Error: CODEWELL_KAFKA_SASL_MECHANISM is invalid")
