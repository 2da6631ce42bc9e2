"""Lints the chart, and checks what it renders against the schemas of Kubernetes and of operators, and Pod Security."""

from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML

from tools.chart import helm
from tools.chart.files import CHART
from tools.chart.kubernetes_schemas import VERSIONS, complaints

VALUE_SETS: Final = (*sorted((CHART / "ci").glob("*-values.yaml")), CHART / "examples" / "values.yaml")
# No registry that a build reads has its definition.
_UNCHECKED: Final = ("postgresql.cnpg.io/v1",)


def wrong() -> list[str]:
    """All that is wrong with the chart and its examples."""
    found: dict[str, None] = {}
    for values in VALUE_SETS:
        helm.lint(values)
        for resource in helm.render(values):
            said = [*insecure(resource), *(one for version in VERSIONS for one in complaints(resource, version))]
            found |= dict.fromkeys(f"{values.name}: {one}" for one in said)
    for path in sorted((CHART / "examples").glob("*.yaml")):
        for resource in YAML(typ="safe", pure=True).load_all(path):
            if resource.get("apiVersion", _UNCHECKED[0]) not in _UNCHECKED:
                found |= dict.fromkeys(f"{path.name}: {one}" for one in complaints(resource, VERSIONS[-1]))
    return list(found)


def pod_of(resource: dict[str, Any]) -> dict[str, Any] | None:
    """The specification of the pods that a resource makes, or None."""
    if resource["kind"] == "Pod":
        pod: dict[str, Any] = resource["spec"]
        return pod
    template = resource["spec"].get("template") if resource["kind"] in {"Deployment", "Job"} else None
    return None if template is None else template["spec"]


def insecure(resource: dict[str, Any]) -> Iterator[str]:
    """What the Pod Security Standard *restricted* and this project forbid; nothing for a resource without pods."""
    pod = pod_of(resource)
    if pod is None:
        return
    who = f"{resource['kind']}/{resource['metadata']['name']}"
    yield from (f"{who}: {one}" for one in _insecure_pod(pod))
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        yield from (f"{who}: {one}" for one in _insecure_container(container))


def _insecure_pod(pod: dict[str, Any]) -> Iterator[str]:
    context = pod.get("securityContext", {})
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token of the API server"
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if pod.keys() & {"hostNetwork", "hostPID", "hostIPC"} or any("hostPath" in one for one in pod.get("volumes", ())):
        yield "reaches its node"


def _insecure_container(container: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
        yield "may gain privileges"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
        yield "has no requests, or no limit of memory"
    if "cpu" in resources.get("limits", {}):
        yield "has a limit of processor time"
