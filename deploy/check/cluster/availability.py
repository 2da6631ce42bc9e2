"""How many pods of each Deployment were available while something happened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from deploy.check.cluster.control_plane import Cluster
from deploy.check.cluster.kube import NAMESPACE, until
from services.standalone.child import Child

_COLUMNS: Final = '{.metadata.name} {.status.availableReplicas}{"\\n"}'
_BEGIN_TIMEOUT_S: Final = 20.0


@asynccontextmanager
async def least_available(cluster: Cluster, label: str) -> AsyncIterator[dict[str, int]]:
    """Watch while the block runs; the dictionary, by Deployment, is filled at its end. `label` names the log."""
    watch = await Child.start(
        f"watch-{label}",
        (cluster.kube.kubectl, "get", "deployments", "-n", NAMESPACE, "--watch", "-o", f"jsonpath={_COLUMNS}"),
        log_path=cluster.folder / f"watch-{label}.log",
        env=cluster.kube.env,
    )
    least: dict[str, int] = {}

    async def begun() -> bool:
        return bool(watch.log_tail())

    try:
        await until(begun, _BEGIN_TIMEOUT_S, "The watch of Deployments begins")
        yield least
    finally:
        await watch.stop()
    for line in watch.log_path.read_text().splitlines():
        name, _, count = line.partition(" ")
        least[name] = min(int(count or 0), least.get(name, int(count or 0)))
