"""The chart as an operator installs it: a namespace, Secrets, values, and helm's commands."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from deploy.check.cluster.control_plane import Cluster
from deploy.check.cluster.fake_nodes import is_ready
from deploy.check.cluster.kube import NAMESPACE, Kube

CHART: Final = Path("deploy/chart")
NAME: Final = "codewell"
REPOSITORY: Final = "codewell.invalid/codewell"
ISSUERS_MAX: Final = 6
LAG_PER_ISSUER: Final = 100
WAIT: Final = ("--wait", "--timeout", "120s")
# How long a pod stays on a node that is gone. Kubernetes' default is 300 s.
AWAY_S: Final = 15
_SECRETS: Final = {
    "database-owner": ("username", "password"),
    "database-users": ("issuer", "generator", "console"),
    "master-key": ("master-key",),
}


def namespace() -> dict[str, Any]:
    """The namespace, which takes no pod that is not restricted."""
    modes = ("enforce", "warn", "audit")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def secrets(*, without: str = "") -> list[dict[str, Any]]:
    """The Secrets that the values name, but one."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": dict.fromkeys(keys, "secret"),
        }
        for name, keys in _SECRETS.items()
        if name != without
    ]


def write_values(cluster: Cluster, bootstrap: str) -> Path:
    """The values of this installation: what has no default, and limits that a check reaches."""
    away = [
        {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": AWAY_S}
        for state in ("not-ready", "unreachable")
    ]
    path = cluster.folder / "values.json"
    path.write_text(json.dumps({
        "image": {"repository": REPOSITORY, "tag": "v1"},
        "postgres": {
            "host": "database.codewell.invalid:5432",
            "owner": {"secret": "database-owner"}, "users": {"secret": "database-users"},
        },
        "kafka": {"bootstrap": bootstrap, "securityProtocol": "PLAINTEXT"},
        "allowInsecure": True,
        "masterKey": {"secret": "master-key"},
        "pod": {"tolerations": away},
        "autoscaling": {"enabled": True, "maxReplicas": ISSUERS_MAX, "lagPerIssuer": LAG_PER_ISSUER},
    }))  # fmt: skip
    return path


async def pods(kube: Kube, service: str) -> list[dict[str, Any]]:
    """A service's pods that are not on their way out."""
    found = await kube.objects("pods", "-l", f"app.kubernetes.io/component={service}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


async def ready_pods(kube: Kube, service: str) -> list[dict[str, Any]]:
    """Those of them that are ready."""
    return [pod for pod in await pods(kube, service) if is_ready(pod)]


def node_of(pod: dict[str, Any]) -> str:
    """The name of a pod's node."""
    name: str = pod["spec"]["nodeName"]
    return name


def tags(found: Iterable[dict[str, Any]]) -> set[str]:
    """The tags of pods' images."""
    return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in found}


def zones(found: Iterable[dict[str, Any]]) -> Counter[str]:
    """How many pods each zone has; a node's name begins with its zone's."""
    return Counter(node_of(pod)[0] for pod in found)
