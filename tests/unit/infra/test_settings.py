import json
import os
from base64 import b64encode
from pathlib import Path

import pytest
from pydantic import ValidationError

from codewell.errors import SettingsInvalid
from codewell.infra.config.effective_settings import effective_settings
from codewell.infra.config.settings import StackSettings, WorkerSettings, home, read_settings
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings

URL = "postgresql://user:secret@localhost:5432/codewell"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing of the machine's own settings, a home of the test's own, and the two places that must be known."""
    for name in [name for name in os.environ if name.startswith("CODEWELL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CODEWELL_HOME", str(tmp_path))
    monkeypatch.setenv("CODEWELL_POSTGRES_URL", URL)
    monkeypatch.setenv("CODEWELL_KAFKA_BOOTSTRAP", "localhost:9092")
    return monkeypatch


@pytest.mark.parametrize("kind", [StackSettings, WorkerSettings, IssuerSettings, GeneratorSettings, ConsoleSettings])
def test_two_places_are_all_that_must_be_said(kind: type[StackSettings]) -> None:
    settings = read_settings(kind)

    assert settings.postgres_url.get_secret_value() == URL
    assert settings.kafka_bootstrap == "localhost:9092"
    assert (settings.topic_prefix, settings.log_level, settings.all_master_keys) == ("", "info", ())


def test_what_is_missing_is_named_with_what_to_do(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("CODEWELL_POSTGRES_URL")

    with pytest.raises(SettingsInvalid) as raised:
        read_settings(IssuerSettings)
    assert str(raised.value) == (
        f"CODEWELL_POSTGRES_URL is not set and there is no stack in {tmp_path}: "
        "set it, or start a stack with codewell standalone."
    )


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (StackSettings, "KAFKA_BOOTSTRAP", ""),
        (StackSettings, "POSTGRES_URL", ""),
        (StackSettings, "TOPIC_PREFIX", "no spaces"),
        (StackSettings, "TOPIC_PREFIX", "x" * 101),
        (StackSettings, "MASTER_KEY", "not base64!"),
        (StackSettings, "MASTER_KEY_PREVIOUS", b64encode(bytes(32)).decode()),
        (StackSettings, "MASTER_KEY", b64encode(bytes(17)).decode()),
        (StackSettings, "GUESSES_PER_S", "0"),
        (StackSettings, "GUESSES_PER_S", "nan"),
        (StackSettings, "LOG_LEVEL", "loud"),
        (WorkerSettings, "HEALTH_PORT", "65536"),
        (WorkerSettings, "HEALTH_PORT", "-2"),
        (WorkerSettings, "START_TIMEOUT_S", "0"),
        (WorkerSettings, "STOP_TIMEOUT_S", "121"),
        (IssuerSettings, "BATCH_SIZE_MAX", "0"),
        (IssuerSettings, "BATCH_SIZE_MAX", "many"),
        (IssuerSettings, "RETRY_DELAY_S", "0.01"),
        (IssuerSettings, "DEMAND_INTERVAL_S", "61"),
        (IssuerSettings, "REMOTE_WAIT_S", "0"),
        (GeneratorSettings, "SWEEP_INTERVAL_S", "inf"),
        (GeneratorSettings, "REMOTE_CONCURRENCY", "1"),
        (GeneratorSettings, "REMOTE_TIMEOUT_S", "0"),
        (GeneratorSettings, "REMOTE_GIVE_UP_S", "0"),
        (GeneratorSettings, "REMOTE_ALLOW", "localhost"),
        (GeneratorSettings, "REMOTE_ALLOW", "10.0.0.0/8, 10.0.0.1/8"),
        (ConsoleSettings, "API_PORT", "-1"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(
    environment: pytest.MonkeyPatch, kind: type[StackSettings], name: str, value: str
) -> None:
    environment.setenv(f"CODEWELL_{name}", value)

    with pytest.raises(SettingsInvalid, match=rf"^CODEWELL_{name} is invalid: .+\.$"):
        read_settings(kind)


@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_master_key_is_bytes_in_base64_and_is_shown_nowhere(environment: pytest.MonkeyPatch, size: int) -> None:
    key = os.urandom(size)
    environment.setenv("CODEWELL_MASTER_KEY", b64encode(key).decode())

    settings = read_settings(StackSettings)

    assert settings.all_master_keys == (key,)
    assert b64encode(key).decode() not in repr(settings)
    assert "secret" not in repr(settings)


def test_older_master_keys_stand_beside_the_newest(environment: pytest.MonkeyPatch) -> None:
    newest, *others = (os.urandom(size) for size in (32, 16, 24))
    environment.setenv("CODEWELL_MASTER_KEY", b64encode(newest).decode())
    environment.setenv("CODEWELL_MASTER_KEY_PREVIOUS", ",".join(b64encode(one).decode() for one in others))
    assert read_settings(StackSettings).all_master_keys == (newest, *others)
    assert read_settings(StackSettings).master_keys == (newest, *others)

    environment.setenv("CODEWELL_MASTER_KEY_PREVIOUS", "")
    assert read_settings(StackSettings).all_master_keys == (newest,)
    environment.setenv("CODEWELL_MASTER_KEY_PREVIOUS", "hunter2")
    with pytest.raises(SettingsInvalid, match=r"^CODEWELL_MASTER_KEY_PREVIOUS is invalid: .+commas\.$"):
        read_settings(StackSettings)


def test_a_wrong_secret_is_not_in_the_sentence(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_MASTER_KEY", "hunter2")

    with pytest.raises(SettingsInvalid) as raised:
        read_settings(StackSettings)
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in str(raised.value.__cause__)


def test_the_environment_wins_over_a_stack_on_this_machine(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = {"postgres_url": "postgresql://127.0.0.1/db", "kafka_bootstrap": "127.0.0.1:1", "api_url": "http://stack:2"}
    (tmp_path / "endpoints.json").write_text(json.dumps(stack))
    environment.delenv("CODEWELL_KAFKA_BOOTSTRAP")

    settings = read_settings(IssuerSettings)

    assert settings.postgres_url.get_secret_value() == URL
    assert settings.kafka_bootstrap == "127.0.0.1:1"


@pytest.mark.parametrize("content", ["{", "null", "\x80"])
def test_endpoints_that_can_not_be_read_are_one_sentence(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "endpoints.json").write_text(content, encoding="latin-1")
    environment.delenv("CODEWELL_KAFKA_BOOTSTRAP")

    with pytest.raises(SettingsInvalid, match=r"endpoints.json cannot be read: remove it, or start the stack"):
        read_settings(IssuerSettings)


# Also a name that is too long for a path, which fails for root as a directory of another user does for others.
@pytest.mark.parametrize("directory", [None, "n" * 5000])
def test_a_home_that_can_not_be_read_does_not_matter_to_who_knows_both_servers(
    environment: pytest.MonkeyPatch, tmp_path: Path, directory: str | None
) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    environment.setenv("CODEWELL_HOME", directory or str(tmp_path))

    assert read_settings(GeneratorSettings).postgres_url.get_secret_value() == URL
    sources = {one.variable: one.source for one in effective_settings(GeneratorSettings)}
    assert sources["CODEWELL_KAFKA_BOOTSTRAP"] == "environment"

    # A secret's file counts too.
    environment.delenv("CODEWELL_POSTGRES_URL")
    (tmp_path / "url").write_text(URL)
    environment.setenv("CODEWELL_POSTGRES_URL_FILE", str(tmp_path / "url"))
    assert {one.variable: one.source for one in effective_settings(GeneratorSettings)}[
        "CODEWELL_POSTGRES_URL"
    ] == "file"


@pytest.mark.parametrize(
    ("text", "topics"),
    [("", ()), ("answers", ("answers",)), (" a, b ,,c ", ("a", "b", "c"))],
)
def test_reply_topics_stand_between_commas(environment: pytest.MonkeyPatch, text: str, topics: tuple[str, ...]) -> None:
    environment.setenv("CODEWELL_REPLY_TOPICS", text)

    assert read_settings(IssuerSettings).reply_topics == topics


@pytest.mark.parametrize(
    "text",
    [
        "x.message-render",
        "x.program-changed",
        "x.message-render.retry",
        "x.scenario-step.dlq",
        "__offsets",
        "a b",
        "..",
    ],
)
def test_a_topic_that_services_read_is_no_reply_topic(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("CODEWELL_TOPIC_PREFIX", "x.")
    environment.setenv("CODEWELL_REPLY_TOPICS", f"good,{text}")
    with pytest.raises(SettingsInvalid, match=r"CODEWELL_REPLY_TOPICS is invalid: .*for replies"):
        read_settings(IssuerSettings)


def test_our_own_reply_topics_may_be_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CODEWELL_REPLY_TOPICS", "message-render.reply,message-render.answers")
    assert read_settings(IssuerSettings).reply_topics == ("message-render.reply", "message-render.answers")


@pytest.mark.parametrize(
    ("text", "networks"),
    [("", ()), ("127.0.0.0/8", ("127.0.0.0/8",)), (" ::1, 10.1.2.3 ,,fd00::/8", ("::1", "10.1.2.3", "fd00::/8"))],
)
def test_allowed_networks_stand_between_commas(
    environment: pytest.MonkeyPatch, text: str, networks: tuple[str, ...]
) -> None:
    environment.setenv("CODEWELL_REMOTE_ALLOW", text)

    assert read_settings(GeneratorSettings).remote_allow == networks


def test_settings_do_not_change_once_read() -> None:
    settings = read_settings(IssuerSettings)

    for name in IssuerSettings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, 5)


@pytest.mark.parametrize(("value", "directory"), [("/srv/stack", "/srv/stack"), ("", ".codewell"), (None, ".codewell")])
def test_the_home_is_here_unless_said(environment: pytest.MonkeyPatch, value: str | None, directory: str) -> None:
    if value is None:
        environment.delenv("CODEWELL_HOME")
    else:
        environment.setenv("CODEWELL_HOME", value)

    assert home() == Path(directory)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "api.example.com", ""])
def test_an_api_for_other_hosts_has_no_tls_and_must_be_meant(environment: pytest.MonkeyPatch, host: str) -> None:
    environment.setenv("CODEWELL_API_HOST", host)
    with pytest.raises(SettingsInvalid, match=r"API_HOST is invalid: .*proxy with TLS.*ALLOW_INSECURE"):
        read_settings(ConsoleSettings)
    environment.setenv("CODEWELL_ALLOW_INSECURE", "true")
    assert read_settings(ConsoleSettings).api_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_api_for_this_host_needs_nothing(environment: pytest.MonkeyPatch, host: str) -> None:
    environment.setenv("CODEWELL_API_HOST", host)
    assert read_settings(ConsoleSettings).api_host == host
