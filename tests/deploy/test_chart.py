"""What the chart makes of values: each process reads its settings, and resources find each other."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from codewell.files.limits import FileLimits
from codewell.infra.config import settings
from codewell.infra.config.settings import StackSettings, WorkerSettings
from schemas.topics import TOPICS
from services.cli import codewell
from services.console.settings import ConsoleSettings
from services.generator.settings import GeneratorSettings
from services.issuer.settings import IssuerSettings
from services.lifecycle.settings import LifecycleSettings
from tests.support.certificates import Authority
from tests.support.command_tree import commands_of
from tools.chart import check, helm, kubernetes_schemas
from tools.chart.files import CHART, ROOT

SETS = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").glob("*-values.yaml")}
KINDS: dict[str, type[StackSettings]] = {
    "issuer": IssuerSettings,
    "generator": GeneratorSettings,
    "console": ConsoleSettings,
    "lifecycle": LifecycleSettings,
    "migrate": IssuerSettings,
    "commands": StackSettings,
}
SECRETS = "/run/secrets/codewell"
Resource = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _helm() -> None:
    """Not asked while tests are collected, as the first time it is downloaded."""
    if helm.helm() is None:
        pytest.skip("there is no helm for this machine")


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Resource]]:
    """The resources by the set of values."""
    return {name: helm.render(path) for name, path in SETS.items()}


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in resources if one["kind"] in kinds}


def labels_of_pods(resources: list[Resource]) -> list[dict[str, str]]:
    found = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind(resources, "Deployment", "Job").values()]
    return found + [one["metadata"]["labels"] for one in of_kind(resources, "Pod").values()]


@pytest.mark.parametrize("name", ["minimal", "everything", "restricted"])
def test_each_process_reads_its_settings(
    name: str, rendered: dict[str, list[Resource]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = YAML(typ="safe", pure=True).load(SETS[name])
    processes = of_kind(rendered[name], "Deployment", "Job")
    names = {process.removeprefix("codewell-") for process in processes}
    assert names == set(KINDS) - ({"lifecycle"} if name != "everything" else set()) - (
        {"migrate"} if name == "restricted" else set()
    )
    for process in names:
        pod = processes[f"codewell-{process}"]["spec"]["template"]["spec"]
        folder = tmp_path / process
        sources = pod["volumes"][0]["projected"]["sources"]
        files = {item["path"]: item["key"] for one in sources for item in one["secret"]["items"]}
        _mount(files, folder)
        with monkeypatch.context() as patch:
            for variable in [one for one in os.environ if one.startswith("CODEWELL_")]:
                patch.delenv(variable)
            for one in pod["containers"][0]["env"]:
                patch.setenv(one["name"], str(one.get("value", "")).replace(SECRETS, str(folder)))
            read = settings.read_settings(KINDS[process])
        assert len(read.all_master_keys) == (2 if name == "everything" else 1)
        at = urlsplit(read.postgres_url.get_secret_value())
        prefix = given["postgres"]["users"].get("prefix", "")
        assert at.username == ("$(POSTGRES_OWNER)" if process in {"migrate", "commands"} else prefix + process)
        assert at.password == ("password" if process in {"migrate", "commands"} else process)
        assert read.kafka_config.tls() is not None
        if name == "everything":
            assert (read.topic_prefix, read.time_zone) == ("shop.", "Europe/Berlin")
        if isinstance(read, ConsoleSettings) and name == "everything":
            assert read.import_bytes_max == 2_147_483_648
            assert not read.pages
            assert [str(one) for one in read.remote_networks] == ["10.1.0.0/16", "10.2.0.0/16"]
        if isinstance(read, WorkerSettings) and process != "migrate":
            stop_s = read.stop_timeout_s + (5 if process == "console" else 0)
            assert pod["terminationGracePeriodSeconds"] >= stop_s + 10


def _mount(files: dict[str, str], folder: Path) -> None:
    """Make the files of a pod's Secrets: each holds the name of its key, or what its kind of file holds."""
    folder.mkdir()
    authority = Authority(folder, "authority")
    for path, key in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        if path.startswith("master-key"):
            (folder / path).write_bytes(b64encode((path[-1] * 32).encode()))
        elif path.endswith("ca.crt"):
            (folder / path).write_bytes(authority.file.read_bytes())
        elif not path.startswith("kafka-user"):
            (folder / path).write_text(key)
    if "kafka-user.crt" in files:
        certificate, key_file = authority.issue("codewell")
        certificate.rename(folder / "kafka-user.crt")
        key_file.rename(folder / "kafka-user.key")


def test_the_migration_needs_nothing_of_the_chart(rendered: dict[str, list[Resource]]) -> None:
    """It runs first, when there is nothing else yet; a Secret that the chart made would be missing, too."""
    for resources in rendered.values():
        assert not of_kind(resources, "Secret")
    job = of_kind(rendered["everything"], "Job")["codewell-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod
    script = pod["containers"][0]["args"][0]
    words = [line.split() for line in script.strip().splitlines()]
    # Strimzi makes the topics there.
    assert [line[1:3] for line in words] == [["migrate"]] + [
        ["login", service] for service in ("issuer", "generator", "console", "lifecycle")
    ]
    assert all(line[0] == "codewell" and line[1] in commands_of(codewell) for line in words)
    assert (
        "codewell topics"
        in of_kind(rendered["minimal"], "Job")["codewell-migrate"]["spec"]["template"]["spec"]["containers"][0]["args"][
            0
        ]
    )


@pytest.mark.parametrize("name", ["minimal", "everything", "restricted"])
def test_whatever_selects_pods_finds_those_of_one_service(name: str, rendered: dict[str, list[Resource]]) -> None:
    resources, pods = rendered[name], labels_of_pods(rendered[name])
    selectors = [
        (one, one["spec"]["selector"] if one["kind"] == "Service" else one["spec"]["selector"]["matchLabels"])
        for one in of_kind(resources, "Deployment", "PodDisruptionBudget").values()
    ]
    selectors += [(one, one["spec"]["selector"]) for one in of_kind(resources, "Service").values()]
    selectors += [
        (one, one["spec"]["podSelector"]["matchLabels"]) for one in of_kind(resources, "NetworkPolicy").values()
    ]
    for one, selector in selectors:
        found = [labels for labels in pods if selector.items() <= labels.items()]
        assert len(found) == 1, one["metadata"]["name"]
        assert one["metadata"]["name"] == f"codewell-{found[0]['app.kubernetes.io/component']}"
    if name != "minimal":
        # A pod without a policy may reach all, or nothing where the namespace refuses by default.
        components = {f"codewell-{labels['app.kubernetes.io/component']}" for labels in pods}
        assert set(of_kind(resources, "NetworkPolicy")) == components
    assert set(of_kind(resources, "PodDisruptionBudget")) == set(of_kind(resources, "Service"))


def test_the_test_asks_each_service_by_the_name_and_port_that_it_has(rendered: dict[str, list[Resource]]) -> None:
    resources = rendered["everything"]
    asked = of_kind(resources, "Pod")["codewell-test"]["spec"]["containers"][0]["args"][1:]
    services = of_kind(resources, "Service").items()
    assert set(asked) == {f"{name}:{one['spec']['ports'][0]['port']}" for name, one in services}
    # Their names stand for pods, also for those that are not ready.
    workers = [one["spec"] for name, one in services if name != "codewell-console"]
    assert all(one["clusterIP"] == "None" and one["publishNotReadyAddresses"] for one in workers)


def test_issuers_are_scaled_by_what_waits_for_them(rendered: dict[str, list[Resource]]) -> None:
    resources = rendered["everything"]
    scaled = of_kind(resources, "ScaledObject")["codewell-issuer"]["spec"]
    issuer = of_kind(resources, "Deployment")["codewell-issuer"]
    # KEDA's number would be set back at each upgrade.
    assert "replicas" not in issuer["spec"]
    assert of_kind(rendered["minimal"], "Deployment")["codewell-issuer"]["spec"]["replicas"] == 2
    assert scaled["scaleTargetRef"]["name"] == issuer["metadata"]["name"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 24)
    assert {one["metadata"]["topic"]: one["metadata"]["consumerGroup"] for one in scaled["triggers"]} == {
        "shop.message-render": "shop.codewell-issuer",
        "shop.scenario-step": "shop.codewell-issuer",
        "shop.message-render.retry": "shop.codewell-issuer-retry",
        "shop.scenario-step.retry": "shop.codewell-issuer-retry",
    }
    for one in scaled["triggers"]:
        assert (one["metadata"]["sasl"], one["metadata"]["tls"]) == ("scram_sha512", "enable")
        assert one["authenticationRef"]["name"] in of_kind(resources, "TriggerAuthentication")
    authentication = of_kind(resources, "TriggerAuthentication")["codewell-issuer"]["spec"]
    given = {one["name"] for one in issuer["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {one["name"] for one in authentication["env"]} <= given
    assert {one["parameter"] for one in authentication["secretTargetRef"]} == {"password", "ca"}


def test_strimzi_makes_the_topics_that_the_command_makes(rendered: dict[str, list[Resource]]) -> None:
    made = {one["spec"]["topicName"]: one for one in of_kind(rendered["everything"], "KafkaTopic").values()}
    assert set(made) == {f"shop.{topic.name}" for topic in TOPICS} | {"answers.mail"}
    for topic in TOPICS:
        one = made[f"shop.{topic.name}"]
        config = dict(one["spec"]["config"])
        assert (one["spec"]["replicas"], config.pop("min.insync.replicas")) == (3, 2)
        assert (one["spec"]["partitions"], config) == (topic.partitions, dict(topic.config))
        # Without it, `helm uninstall` would delete the topics.
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert one["metadata"]["labels"]["strimzi.io/cluster"] == "codewell"


def test_alerts_and_metrics_are_of_one_job(rendered: dict[str, list[Resource]]) -> None:
    resources = rendered["everything"]
    source = YAML(typ="safe", pure=True).load(ROOT / "deploy" / "prometheus" / "codewell.rules.yaml")
    (rule,) = of_kind(resources, "PrometheusRule").values()
    names = [[one["alert"] for one in group["rules"]] for group in source["groups"]]
    assert [[one["alert"] for one in group["rules"]] for group in rule["spec"]["groups"]] == names
    for group, made in zip(source["groups"], rule["spec"]["groups"], strict=True):
        for was, one in zip(group["rules"], made["rules"], strict=True):
            assert (one["expr"], one["annotations"]["summary"]) == (was["expr"], was["annotations"]["summary"])
            link = was["annotations"]["runbook_url"]
            assert one["annotations"]["runbook_url"] == f"https://git.example.com/codewell/blob/main/{link}"
    monitors = of_kind(resources, "PodMonitor", "ServiceMonitor")
    assert {one["spec"]["jobLabel"] for one in monitors.values()} == {"app.kubernetes.io/instance"}
    workers = monitors["codewell-workers"]["spec"]["selector"]
    pods = [labels for labels in labels_of_pods(resources) if workers["matchLabels"].items() <= labels.items()]
    read = {value for one in workers["matchExpressions"] for value in one["values"]}
    components = {labels["app.kubernetes.io/component"] for labels in pods}
    assert read == components - {"console", "migrate", "commands", "test"}


def test_the_largest_uploads_fit_into_a_console(rendered: dict[str, list[Resource]]) -> None:
    for name, largest in (("minimal", FileLimits().bytes_max), ("everything", 2_147_483_648)):
        for process, one in of_kind(rendered[name], "Deployment").items():
            volumes = one["spec"]["template"]["spec"]["volumes"]
            [limit] = [volume["emptyDir"]["sizeLimit"] for volume in volumes if volume["name"] == "tmp"]
            # Two of them, and a copy of each.
            assert limit == (str(4 * largest + 256 * 1024**2) if process == "codewell-console" else "256Mi")


def test_the_chart_is_of_the_version_of_the_distribution() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    chart = YAML(typ="safe", pure=True).load(CHART / "Chart.yaml")
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_images_are_those_of_the_services(rendered: dict[str, list[Resource]]) -> None:
    images = {
        name.removeprefix("codewell-"): one["spec"]["template"]["spec"]["containers"][0]["image"]
        for name, one in of_kind(rendered["everything"], "Deployment", "Job").items()
    }
    assert images == {
        "issuer": "registry.example/codewell-issuer:0.1.0",
        "generator": "registry.example/codewell-generator:0.1.0",
        "console": "registry.example/codewell-console:0.1.0-1",
        "lifecycle": f"registry.example/codewell-issuer@sha256:{'0123456789abcdef' * 4}",
        "migrate": "registry.example/codewell:0.1.0",
        "commands": "registry.example/codewell:0.1.0",
    }


REFUSED = {
    "issuer.replica=3": "replica",
    "issuer.replicas=many": "/issuer/replicas",
    "issuer.replicas=2.5": "/issuer/replicas",
    "autoscaling.maxReplicas=25": "/autoscaling/maxReplicas",
    "settings.CODEWELL_LOGLEVEL=debug": "CODEWELL_LOGLEVEL",
    "settings.CODEWELL_BATCH_SIZE_MAX=0": "CODEWELL_BATCH_SIZE_MAX",
    "settings.CODEWELL_KAFKA_BOOTSTRAP=k:1": "CODEWELL_KAFKA_BOOTSTRAP",
    "extraEnv[0].name=CODEWELL_TIME_ZONE": "/extraEnv/0/name",
    "kafka.securityProtocol=TLS": "/kafka/securityProtocol",
    "kafka.securityProtocol=SASL_PLAINTEXT": "kafka.securityProtocol is neither SSL nor SASL_SSL",
    "postgres.sslMode=require": "postgres.sslMode is not verify-full",
    "postgres.host=": "postgres.host is empty: set it to the primary's host:port",
    "postgres.host=user@db:5432": "/postgres/host",
    "masterKey.secret=": "masterKey.secret is empty",
    "masterKey.secret=Not_a_name": "/masterKey/secret",
    "topics.mode=strimzi": "topics.strimzi.cluster is empty",
    "topics.mode=strimzi,topics.strimzi.cluster=k,topics.strimzi.replicas=1": "minInsyncReplicas is above",
    "kafka.securityProtocol=PLAINTEXT,allowInsecure=true,kafka.ca.secret=ca": "kafka.ca.secret is set, but",
    "fullnameOverride=Codes": "cannot begin the name of a Service",
    "fullnameOverride=codes.shop": "cannot begin the name of a Service",
    "fullnameOverride=1st": "cannot begin the name of a Service",
    "ingress.enabled=true": "ingress.host is empty",
    "autoscaling.minReplicas=24,autoscaling.maxReplicas=2": "autoscaling.minReplicas is above",
}


@pytest.mark.parametrize("given", REFUSED)
def test_values_that_are_wrong_are_refused_with_what_to_do(given: str) -> None:
    with pytest.raises(helm.ChartRefused) as refused:
        helm.render(SETS["minimal"], "--set", given)
    assert REFUSED[given].lower() in str(refused.value).replace(".", "/" if "/" in REFUSED[given] else ".").lower()


# Texts that YAML would read as something else.
UNQUOTED = (
    "fullnameOverride=true,nameOverride=1e5,kafka.users.issuer.name=7,pod.priorityClassName=1,ingress.className=2,"
    "ingress.tlsSecret=3,topics.strimzi.namespace=4,topics.strimzi.cluster=null,"
    "postgres.owner.secret=10,postgres.users.secret=11,postgres.ca.secret=12,postgres.ca.key=13,"
    "kafka.users.issuer.secret=14,kafka.ca.secret=15,kafka.ca.key=16,masterKey.secret=17,masterKey.key=2026,"
    "masterKey.previousKey=2025,smtpPassword.secret=18,smtpPassword.key=19,oidcClientSecret.secret=20,"
    "oidcClientSecret.key=0x15,replyTopics[0]=22"
)


def test_texts_that_look_like_numbers_stay_texts() -> None:
    text = helm.run("template", "123", str(CHART), "--kube-version", helm.KUBERNETES, "--values",
                    str(SETS["everything"]), "--set-string", UNQUOTED)  # fmt: skip
    resources = [one for one in YAML(typ="safe", pure=True).load_all(text) if one]
    assert len(resources) > len(TOPICS)
    assert [
        said for one in resources for said in kubernetes_schemas.complaints(one, kubernetes_schemas.VERSIONS[-1])
    ] == []
    topics = [one for one in resources if one["kind"] == "KafkaTopic"]
    # Operators read names and labels, which their schemas do not have.
    assert all(isinstance(one["metadata"]["name"], str) for one in resources)
    assert {one["metadata"]["namespace"] for one in topics} == {"4"}
    assert {one["metadata"]["labels"]["strimzi.io/cluster"] for one in topics} == {"null"}
    assert "22" in {one["spec"]["topicName"] for one in topics}


SECRETS_OF_MINIMAL = {
    "codewell-db-app": ["username", "password"],
    "codewell-database-users": ["issuer", "generator", "console"],
    "codewell-master-key": ["master-key"],
    **{f"codewell-{name}": ["password"] for name in ("issuer", "generator", "console", "operator")},
}


class _ApiServer(BaseHTTPRequestHandler):
    """What helm asks of an API server before it reads Secrets, and the Secrets of one namespace."""

    secrets: ClassVar[dict[str, list[str]]]

    def do_GET(self) -> None:
        secrets = {"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["list"]}
        items = [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": dict.fromkeys(keys, "eA==")}
            for name, keys in self.secrets.items()
        ]
        answers: dict[str, Any] = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [secrets]},
            "/api/v1/namespaces/shop/secrets": {"kind": "SecretList", "apiVersion": "v1", "items": items},
        }
        answer = answers.get(self.path.partition("?")[0])
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer or {"kind": "Status", "code": 404}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        (SECRETS_OF_MINIMAL, ""),
        ({}, "Secret codewell-database-users is not in namespace shop: create it first"),
        (SECRETS_OF_MINIMAL | {"codewell-master-key": ["key"]}, "Secret codewell-master-key has no key master-key"),
        (SECRETS_OF_MINIMAL | {"codewell-db-app": ["password"]}, "Secret codewell-db-app has no key username"),
    ],
)
def test_a_secret_that_is_missing_is_named_before_anything_is_changed(
    secrets: dict[str, list[str]], said: str, tmp_path: Path
) -> None:
    handler = type("Handler", (_ApiServer,), {"secrets": secrets})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {}}]
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
        (tmp_path / "config").write_text(json.dumps(config | {"current-context": "c"}))
        refused = ""
        try:
            helm.render(SETS["minimal"], "--dry-run=server", "--kubeconfig", str(tmp_path / "config"))
        except helm.ChartRefused as error:
            # Helm 4 goes on, to resources that this server does not know.
            refused = str(error).partition("unable to build kubernetes objects")[0]
        server.shutdown()
    assert said in refused
    assert ("Secret" in refused) == bool(said)


def test_connections_without_tls_are_a_choice() -> None:
    plain = "allowInsecure=true,postgres.sslMode=disable,kafka.securityProtocol=PLAINTEXT"
    resources = helm.render(SETS["minimal"], "--set", plain)
    issuer = of_kind(resources, "Deployment")["codewell-issuer"]["spec"]["template"]["spec"]
    given = {one["name"]: one.get("value", "") for one in issuer["containers"][0]["env"]}
    assert given["CODEWELL_ALLOW_INSECURE"] == "true"
    assert given["CODEWELL_POSTGRES_URL"].endswith("sslmode=disable")
    assert not any("KAFKA_SASL" in name for name in given)


def test_the_check_finds_what_kubernetes_would_refuse(rendered: dict[str, list[Resource]]) -> None:
    deployment = of_kind(rendered["minimal"], "Deployment")["codewell-issuer"]
    assert kubernetes_schemas.complaints(deployment, "1.34") == []
    pod = deployment["spec"]["template"]["spec"]
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    assert "'replica' was unexpected" in kubernetes_schemas.complaints(wrong, "1.34")[0]
    open_pod = {**pod, "automountServiceAccountToken": True, "containers": [{**pod["containers"][0], "resources": {}}]}
    said = list(check.insecure({**deployment, "spec": {"template": {"spec": open_pod}}}))
    assert len(said) == 2
    (scaled,) = of_kind(rendered["everything"], "ScaledObject").values()
    assert kubernetes_schemas.complaints(scaled, "1.34") == []
    assert kubernetes_schemas.complaints({**scaled, "spec": {**scaled["spec"], "minReplicas": 1}}, "1.34")


class _Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        body = b'{"waiting_for": {"kafka": "TopicAuthorizationFailedError"}}' if self.status != 200 else b"{}"
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ready() -> Iterator[type[_Answer]]:
    """A server on a free port, `.port`, whose status a test chooses."""
    handler = type("Handler", (_Answer,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.port = server.server_port  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler
        server.shutdown()


@pytest.mark.parametrize(("status", "exits"), [(200, 0), (503, 1)])
def test_helm_test_says_which_service_is_not_ready(ready: Any, status: int, exits: int) -> None:
    ready.status = status
    script = (CHART / "files" / "readyz.py").read_text("utf-8").replace("_TRIES = 12", "_TRIES = 1")
    words = [sys.executable, "-I", "-c", script, f"127.0.0.1:{ready.port}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == exits, done.stderr
    expected = "127.0.0.1: 1 ready" if status == 200 else "answers 503.*TopicAuthorizationFailedError"
    assert re.search(expected, done.stdout)
