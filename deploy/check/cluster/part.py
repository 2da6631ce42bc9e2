"""The part `cluster`: a control plane with nodes, KEDA and Kafka, and what happens to the chart on them."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.check.cluster.control_plane import control_plane
from deploy.check.cluster.fake_nodes import ZONES, start_nodes
from deploy.check.cluster.keda import start_keda
from deploy.check.cluster.release import write_values
from deploy.check.cluster.requests import kafka
from deploy.check.cluster.scenes import play
from deploy.check.report import Report
from deploy.check.tools import HELM, KEDA, KUBERNETES, KWOK, built, is_built

TIMEOUT_S: Final = 900.0


async def prepare(report: Report) -> None:
    """Build what is not in the cache yet."""
    for source in (KUBERNETES, KWOK, HELM, KEDA):
        if not is_built(source):
            report.held(f"building {source.module} {source.version}, which takes minutes, once")
            await built(source)


async def check(report: Report) -> None:
    """Start everything, look at the chart, and stop everything."""
    with tempfile.TemporaryDirectory(prefix="codewell-cluster-") as name:
        folder, began = Path(name), time.monotonic()
        async with control_plane(folder) as cluster:
            nodes, _ = await asyncio.gather(start_nodes(cluster), start_keda(cluster))
            report.figure("control plane, nodes and KEDA up", f"{time.monotonic() - began:.1f} s")
            report.held(f"Kubernetes {KUBERNETES.version}: {len(nodes)} nodes in {len(ZONES)} zones are ready")
            async with kafka(folder / "kafka") as requests:
                await play(cluster, requests, write_values(cluster, requests.bootstrap), report)
