import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from codewell.infra.config import settings
from codewell.infra.config.secret_files import is_secret
from codewell.infra.config.settings import StackSettings, WorkerSettings
from services.cli import codewell
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings
from services.lifecycle.settings import LifecycleSettings
from tests.deploy.deployment import (
    COMMANDS,
    COMPOSE,
    DEPLOY,
    compose,
    final,
    image_arguments,
    image_environment,
    own_services,
    seconds,
    services,
)
from tests.support.certificates import Authority
from tests.support.command_tree import commands_of

KINDS: dict[str, type[StackSettings]] = {
    "issuer": IssuerSettings,
    "generator": GeneratorSettings,
    "console": ConsoleSettings,
    "lifecycle": LifecycleSettings,
    "migrate": StackSettings,
    "commands": StackSettings,
}
WORKERS = ("issuer", "generator", "console")
SCALED = ("issuer", "generator")
SECRETS = Path("/run/secrets")
MASTER_KEY = b"k" * 32


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = services()[name]
    return found


def mounted(secrets: Iterable[str], folder: Path) -> None:
    """Make the files that these secrets would be, in a folder that stands for the one they are mounted in."""
    for name in secrets:
        if name == "master_key":
            (folder / name).write_bytes(b64encode(MASTER_KEY) + b"\n")
        elif name.endswith("_ca"):
            Authority(folder, "authority").file.rename(folder / name)
        else:
            (folder / name).write_text("secret\n")


def mounts(name: str) -> dict[str, str]:
    return dict(reversed(volume.split(":")) for volume in service(name)["volumes"])


def test_it_is_what_the_specification_of_compose_allows() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_services_are_the_ones_that_are_looked_at_here() -> None:
    assert set(own_services()) == set(KINDS)
    assert set(services()) == {*KINDS, "postgres", "kafka", "prometheus", "grafana"}


@pytest.mark.parametrize("name", KINDS)
def test_the_image_of_a_service_has_what_that_service_needs(name: str) -> None:
    extras = {extra for extra in service(name)["build"]["args"]["EXTRAS"].split(",") if extra}
    # A life-cycle worker runs from the issuer's image.
    worker = {"lifecycle": "issuer"}.get(name, name)
    assert extras - {"oidc", "tracing"} == ({worker} if worker in WORKERS else set())
    # Generators make no spans.
    assert ("oidc" in extras) == (name == "console")
    assert ("tracing" in extras) == (worker in {"issuer", "console"})
    assert extras <= set(image_arguments()["EXTRAS"].split(","))


def test_images_that_hold_something_else_have_another_name() -> None:
    images = {(service(name)["image"], service(name)["build"]["args"]["EXTRAS"]) for name in KINDS}
    assert len(images) == len(dict(images)) == len({extras for _, extras in images})


@pytest.mark.parametrize("name", SCALED)
def test_a_second_container_can_stand_beside_the_first(name: str) -> None:
    assert not {"container_name", "hostname", "ports", "network_mode"} & set(service(name))


def test_every_variable_is_a_setting() -> None:
    fields = {name: field for kind in KINDS.values() for name, field in kind.model_fields.items()}
    known = {f"CODEWELL_{name.upper()}" for name in fields} | {"CODEWELL_HOME"}
    known |= {f"CODEWELL_{name.upper()}_FILE" for name, field in fields.items() if is_secret(field)}
    given = {name for each in own_services() for name in service(each)["environment"]} | set(image_environment())
    given |= set(re.findall(r"CODEWELL_[A-Z_]+", COMPOSE.read_text()))
    assert {name for name in given if name.startswith("CODEWELL_")} <= known


@pytest.mark.parametrize("name", KINDS)
def test_the_settings_of_a_service_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {variable: value for variable, value in service(name)["environment"].items() if value is not None}
    mounted(service(name)["secrets"], tmp_path)
    for variable, value in given.items():
        assert isinstance(value, str), variable
        monkeypatch.setenv(variable, value.replace(str(SECRETS), str(tmp_path)))
    read = settings.read_settings(KINDS[name])
    assert read.all_master_keys == (MASTER_KEY,)
    at = urlsplit(read.postgres_url.get_secret_value())
    database = service("postgres")["environment"]
    assert at.hostname in services()
    # A service has a user of its own, whose name is the service's, and knows no other's password.
    has_user = name in {*WORKERS, "lifecycle"}
    user = name if has_user else database["POSTGRES_USER"]
    assert (at.username, at.password, at.path) == (user, "secret", f"/{database['POSTGRES_DB']}")
    if has_user:
        assert set(service(name)["secrets"]) == {f"{name}_password", "master_key"}
    assert service("kafka")["environment"]["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{read.kafka_bootstrap}"
    assert read.kafka_bootstrap.split(":")[0] in services()


def test_secrets_come_from_files_that_are_not_in_the_repository() -> None:
    text = COMPOSE.read_text()
    assert not re.search(r"(PASSWORD|MASTER_KEY):", text)
    files = compose()["secrets"]
    for name, run in services().items():
        named = {value for value in run.get("environment", {}).values() if str(value).startswith(str(SECRETS))}
        named |= set(re.findall(rf"{SECRETS}/\w+", str(run.get("command"))))
        assert named == {f"{SECRETS}/{secret}" for secret in run.get("secrets", ())}, name
        assert set(run.get("secrets", ())) <= files.keys()
    assert {secret["file"].split("/")[1] for secret in files.values()} == {"secrets"}
    assert "secrets/" in (DEPLOY / ".gitignore").read_text().splitlines()


def test_what_the_page_makes_is_what_is_mounted() -> None:
    page = (DEPLOY / "README.md").read_text()
    made = set(re.findall(r"> (secrets/\w+)", page))
    assert made == {secret["file"].removeprefix("./") for secret in compose()["secrets"].values()}


def test_servers_elsewhere_as_the_page_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (fragment,) = re.findall(r"```yaml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    page = YAML(typ="safe", pure=True).load(fragment)
    mounted(page["secrets"], tmp_path)
    for variable, value in page["x-environment"].items():
        monkeypatch.setenv(variable, value.replace(str(SECRETS), str(tmp_path)))

    read = settings.read_settings(IssuerSettings)
    assert read.kafka_config.password == "secret"
    assert read.kafka_config.tls() is not None
    assert urlsplit(read.postgres_url.get_secret_value()).password == "secret"
    assert not read.allow_insecure


def test_every_command_is_one_of_the_program() -> None:
    said: list[str] = []
    for name in set(own_services()) - {"commands"}:
        run = service(name)
        words = run["command"]
        said += re.findall(r"\bcodewell (\S+)", " ".join(words)) if "entrypoint" in run else words[:1]
    assert set(said) <= COMMANDS & commands_of(codewell).keys()
    assert set(said) == {*WORKERS, "lifecycle", "migrate", "topics", "login"}


@pytest.mark.parametrize("name", KINDS)
def test_our_own_services_may_do_as_little_as_possible(name: str) -> None:
    run = service(name)
    assert run["read_only"] is True
    assert run["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in run["security_opt"]
    assert run["mem_limit"]
    assert run["pids_limit"]
    assert not {"privileged", "cap_add", "user"} & set(run)
    assert "volumes" not in run or name == "console"


def test_the_largest_upload_fits_into_a_console() -> None:
    """Twice, and into no memory."""
    run = service("console")
    assert run["volumes"] == ["/tmp"]
    assert [mount.split(":")[0] for mount in run["tmpfs"]] == ["/var/lib/codewell"]


@pytest.mark.parametrize("name", KINDS)
def test_the_place_where_a_service_starts_can_be_written_by_its_user(name: str) -> None:
    (workdir,) = final("WORKDIR")
    options = dict(mount.split(":") for mount in service(name)["tmpfs"])
    assert "mode=1777" in options[workdir.value].split(",")
    # Seen: Podman refuses to create a container with one of these, and with the log driver `local`.
    assert not re.search(r"[ug]id=", str(options))
    assert service(name)["logging"]["driver"] == "json-file"
    assert {"max-size", "max-file"} <= set(service(name)["logging"]["options"])


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_more_time_to_stop_than_it_takes(name: str) -> None:
    own_limit_s = WorkerSettings.model_fields["stop_timeout_s"].default
    assert seconds(service(name)["stop_grace_period"]) >= own_limit_s + 10


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_starts_on_a_schema_and_topics_and_comes_back_when_it_ends(name: str) -> None:
    run = service(name)
    assert run["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert run["restart"] == "unless-stopped"
    # The image's own check is asked, on a port that is known.
    assert "healthcheck" not in run
    assert int(run["environment"]["CODEWELL_HEALTH_PORT"]) > 0


def test_the_schema_is_made_once_when_both_servers_answer() -> None:
    run = service("migrate")
    assert {name: wait["condition"] for name, wait in run["depends_on"].items()} == {
        "postgres": "service_healthy",
        "kafka": "service_healthy",
    }
    assert all(service(name)["healthcheck"]["test"] for name in run["depends_on"])
    assert run["restart"] == "no"


def test_the_api_is_reached_from_this_host_alone() -> None:
    assert {name for name in services() if "ports" in service(name)} == {"console", "prometheus", "grafana"}
    (port,) = service("console")["ports"]
    assert port == f"127.0.0.1:8080:{service('console')['environment']['CODEWELL_API_PORT']}"


def test_what_monitors_starts_on_demand_and_is_reached_from_this_host_alone() -> None:
    for name in ("prometheus", "grafana"):
        assert service(name)["profiles"] == ["monitoring"]
        (port,) = service(name)["ports"]
        assert port.startswith("127.0.0.1:")
        for volume in service(name)["volumes"]:
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith("./") else source in compose()["volumes"]


def test_grafana_finds_prometheus_and_the_board_where_they_are_mounted() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = YAML(typ="safe").load(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    at = urlsplit(source["url"])
    assert service("prometheus")["ports"] == [f"127.0.0.1:9090:{at.port}"]
    assert at.hostname == "prometheus"
    (provider,) = YAML(typ="safe").load(provisioning / "dashboards" / "codewell.yaml")["providers"]
    assert f"./grafana/codewell.json:{provider['options']['path']}/codewell.json:ro,z" in service("grafana")["volumes"]


def test_a_worker_in_a_container_waits_long_for_its_servers() -> None:
    """It is started again later and later; a fail-over or a restart of Postgres takes minutes."""
    assert 300 <= float(image_environment()["CODEWELL_START_TIMEOUT_S"]) <= 600


def test_both_servers_keep_their_data_in_volumes() -> None:
    # Images of Postgres from 18 on refuse to start with a volume at the former place, below this one.
    assert set(mounts("postgres")) == {"/var/lib/postgresql"}
    assert service("kafka")["environment"]["KAFKA_LOG_DIRS"] in mounts("kafka")


IMAGE = re.compile(r"(?m)^(?:ARG BASE=|\s+image: )((?!codewell)[a-z/]+:[^\s]+)")


def test_the_page_on_security_says_which_images_are_pinned() -> None:
    """A claim of a digest that is not there is worse than none."""
    page = (DEPLOY.parent / "docs" / "security.md").read_text("utf-8")
    written = "".join((DEPLOY / name).read_text("utf-8") for name in ("Dockerfile", "compose.yaml"))
    images = set(IMAGE.findall(written))
    assert {image.partition(":")[0] for image in images} == {
        "python",
        "postgres",
        "apache/kafka",
        "prom/prometheus",
        "grafana/grafana",
    }
    for image in images:
        assert ("@sha256:" in image) != (f"`{image}`" in page), f"{image}: say in docs/security.md what is true"
    assert "image's base by SHA-256" not in page


@pytest.mark.parametrize(
    ("name", "is_read_only", "capabilities"),
    [
        ("postgres", True, {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}),
        ("kafka", False, set()),
        ("prometheus", True, set()),
        ("grafana", True, set()),
    ],
)
def test_servers_have_few_rights(name: str, is_read_only: bool, capabilities: set[str]) -> None:
    given = service(name)
    assert given["cap_drop"] == ["ALL"]
    assert set(given.get("cap_add", ())) == capabilities
    assert given.get("read_only", False) == is_read_only
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert given["pids_limit"] >= 256
