"""Nodes that kwok plays: it says that pods run and that Jobs complete, and starts nothing."""

from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML

from deploy.check.cluster.control_plane import Cluster
from deploy.check.cluster.kube import until
from deploy.check.tools import KWOK, built, download
from services.standalone.ports import LOOPBACK, free_port

ZONES: Final = ("a", "b", "c")
NODES_A_ZONE: Final = 2
# kwok gives signs of life for nodes with this label alone.
ALIVE: Final = "codewell.invalid/alive"
# Pods of an image with this tag never become ready.
BROKEN_TAG: Final = "broken"
START_MS: Final = 1_000
LEASE_S: Final = 12
_READY_TIMEOUT_S: Final = 60.0
_STAGES: Final = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    *(f"pod/fast/pod-{name}" for name in ("ready", "complete", "delete")),
)


async def start_nodes(cluster: Cluster) -> list[str]:
    """Start kwok and some nodes in each zone; returns the names of the nodes once they are ready."""
    stages = cluster.folder / "stages.yaml"
    stages.write_text(await _stages())
    kwok = await built(KWOK) / "kwok"
    await cluster.run(
        *("kwok", kwok, f"--kubeconfig={cluster.kubeconfig}", f"--config={stages}"),
        *(f"--manage-nodes-with-label-selector={ALIVE}", f"--node-lease-duration-seconds={LEASE_S}"),
        f"--server-address={LOOPBACK}:{free_port()}",
    )
    nodes = [_node(f"{zone}{number}", zone) for zone in ZONES for number in range(1, NODES_A_ZONE + 1)]
    await cluster.kube.apply(*nodes)
    names = [node["metadata"]["name"] for node in nodes]

    async def all_ready() -> bool:
        found = await cluster.kube.objects("nodes")
        return [node["metadata"]["name"] for node in found if is_ready(node)] == names

    await until(all_ready, _READY_TIMEOUT_S, "All nodes are ready")
    return names


def is_ready(item: dict[str, Any]) -> bool:
    """Whether a node or a pod says that it is ready."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def kill_node(cluster: Cluster, name: str) -> None:
    """No sign of life comes from the node any more, and nothing that is asked of it is done."""
    await cluster.kube.do("label", "node", name, f"{ALIVE}-")


async def revive_node(cluster: Cluster, name: str) -> None:
    """The node is back."""
    await cluster.kube.do("label", "node", name, f"{ALIVE}=true")


def _node(name: str, zone: str) -> dict[str, Any]:
    room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    labels = {
        ALIVE: "true",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
    }
    status = {"allocatable": room, "capacity": room}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


async def _stages() -> str:
    """kwok's own stages; pods take some time to start."""
    folder = await download(KWOK) / "kustomize" / "stage"
    yaml, text = YAML(typ="safe"), StringIO()
    stages = [yaml.load(folder / f"{name}.yaml") for name in _STAGES]
    for stage in stages:
        if stage["metadata"]["name"] in {"pod-ready", "pod-complete"}:
            stage["spec"]["delay"] = {"durationMilliseconds": START_MS}
        if stage["metadata"]["name"] == "pod-ready":
            query = f'.spec.containers[] | select(.image | endswith(":{BROKEN_TAG}")) | .image'
            stage["spec"]["selector"]["matchExpressions"].append({"key": query, "operator": "DoesNotExist"})
    yaml.dump_all(stages, text)
    return text.getvalue()
