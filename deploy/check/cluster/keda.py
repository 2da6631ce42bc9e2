"""KEDA beside the control plane: its operator, and the metrics server that autoscalers ask."""

import base64
import shutil
from typing import Any, Final

from deploy.check.cluster.control_plane import Cluster
from deploy.check.cluster.kube import until
from deploy.check.tools import KEDA, built, download
from services.standalone.ports import LOOPBACK, free_ports

_NAMESPACE: Final = "keda"
_SERVICE: Final = "keda-metrics-apiserver"
# The API server expects this name in the certificate, wherever the service is.
_NAME: Final = f"{_SERVICE}.{_NAMESPACE}.svc"
_GROUP: Final = "external.metrics.k8s.io"
_READY_TIMEOUT_S: Final = 60.0


async def start_keda(cluster: Cluster) -> None:
    """Install KEDA's resource types, run its two programs, and wait until autoscalers can ask for a lag."""
    programs = await built(KEDA)
    definitions = await download(KEDA) / "config" / "crd" / "bases"
    await cluster.kube.apply_file(definitions)
    operator_port, metrics_port, health_port, adapter_port, adapter_metrics_port = free_ports(5)
    await cluster.kube.apply(*_objects(cluster, adapter_port))
    certificates = cluster.folder / "keda"
    certificates.mkdir()
    issued = cluster.authority.issue(_NAME, "keda-server")
    for name, file in (("ca.crt", cluster.authority.file), ("tls.crt", issued.chain), ("tls.key", issued.key)):
        shutil.copy(file, certificates / name)
    env = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "POD_NAMESPACE": _NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": _NAMESPACE,
        "WATCH_NAMESPACE": "",
    }
    await cluster.run(
        "keda-operator",
        programs / "operator",
        f"--metrics-bind-address={LOOPBACK}:{metrics_port}",
        f"--health-probe-bind-address={LOOPBACK}:{health_port}",
        f"--metrics-service-bind-address={LOOPBACK}:{operator_port}",
        f"--cert-dir={certificates}",
        env=env,
    )
    await cluster.run(
        "keda-adapter",
        programs / "adapter",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={adapter_port}",
        f"--port={adapter_metrics_port}",
        f"--metrics-service-address={LOOPBACK}:{operator_port}",
        f"--metrics-service-grpc-authority={_NAME}",
        f"--cert-dir={certificates}",
        f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}",
        *(f"--{use}-kubeconfig={cluster.kubeconfig}" for use in ("lister", "authentication", "authorization")),
        env=env,
    )

    async def asked() -> bool:
        return await cluster.kube.answers(f"/apis/{_GROUP}/v1beta1")

    await until(asked, _READY_TIMEOUT_S, f"KEDA answers for {_GROUP}")


def _objects(cluster: Cluster, port: int) -> list[dict[str, Any]]:
    """Where the API server finds the metrics server, which is no pod: it refuses endpoints on loopback, not a name."""
    service = {"name": _SERVICE, "namespace": _NAMESPACE, "port": port}
    authority = base64.b64encode(cluster.authority.file.read_bytes()).decode()
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _SERVICE, "namespace": _NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": authority,
                "service": service,
            },
        },
    ]
