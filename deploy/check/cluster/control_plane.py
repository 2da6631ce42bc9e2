"""etcd and Kubernetes' control plane on loopback, in one temporary folder."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.check.cluster.kube import Kube
from deploy.check.report import DoesNotHold
from deploy.check.tools import HELM, KUBERNETES, built, etcd
from services.standalone.child import Child
from services.standalone.ports import LOOPBACK, free_ports
from tests.support.certificates import Authority

READY_TIMEOUT_S: Final = 120.0
# A node is held to be dead after this time without a sign of life. Kubernetes' default is 50 s.
NODE_GRACE_S: Final = 20
_POLL_S: Final = 0.2
# Debian's etcd is too old to stream lists; clients that ask for streams would try again and again.
_SERVER: Final = "WatchList=false"
_CLIENT: Final = {"KUBE_FEATURE_WatchListClient": "false"}


@dataclass(frozen=True)
class Cluster:
    """A running control plane. Programs started with `run` end with it."""

    folder: Path
    kubeconfig: Path
    kube: Kube
    authority: Authority
    _running: AsyncExitStack
    _children: list[Child] = field(default_factory=list)

    async def run(self, name: str, *words: str | Path, env: dict[str, str] | None = None) -> Child:
        """Start a program, which is stopped with the cluster."""
        env = {**os.environ, **_CLIENT, **(env or {})}
        child = await Child.start(name, words, log_path=self.folder / f"{name}.log", env=env, cwd=self.folder)
        self._running.push_async_callback(child.stop)
        self._children.append(child)
        return child

    def ended(self) -> list[str]:
        """What those programs last said that have ended, though nothing stopped them."""
        return [f"{one.name}: {one.last_words()}" for one in self._children if one.returncode is not None]


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[Cluster]:
    """Run a control plane while the block runs, with its data in a folder that exists."""
    programs, helm = await built(KUBERNETES), await built(HELM) / "helm"
    etcd_port, peer_port, api_port, scheduler_port, controller_port = free_ports(5)
    token = secrets.token_urlsafe()
    kubeconfig = _kubeconfig(folder, f"https://{LOOPBACK}:{api_port}", token)
    kube = Kube(programs / "kubectl", helm, kubeconfig, folder)
    async with AsyncExitStack() as children:
        cluster = Cluster(folder, kubeconfig, kube, Authority(folder), children)
        client, peer = f"http://{LOOPBACK}:{etcd_port}", f"http://{LOOPBACK}:{peer_port}"
        await cluster.run("etcd", etcd(), *_options(
            name="check", data_dir=folder / "etcd", listen_client_urls=client,
            advertise_client_urls=client, listen_peer_urls=peer, initial_advertise_peer_urls=peer,
            initial_cluster=f"check={peer}",
        ))  # fmt: skip
        api = await cluster.run(
            "kube-apiserver", programs / "kube-apiserver", *_api_options(cluster, client, api_port, token)
        )
        await _until_ready(api, kube)
        shared: dict[str, str | int | Path] = {
            "kubeconfig": kubeconfig,
            "bind_address": LOOPBACK,
            "leader_elect": False,
        }
        await cluster.run("kube-scheduler", programs / "kube-scheduler", *_options(
            **shared, authentication_kubeconfig=kubeconfig, authorization_kubeconfig=kubeconfig,
            secure_port=scheduler_port,
        ))  # fmt: skip
        await cluster.run("kube-controller-manager", programs / "kube-controller-manager", *_options(
            **shared, authentication_kubeconfig=kubeconfig, authorization_kubeconfig=kubeconfig,
            secure_port=controller_port, service_account_private_key_file=folder / "accounts.key",
            root_ca_file=cluster.authority.file, node_monitor_grace_period=f"{NODE_GRACE_S}s",
            node_monitor_period="2s", horizontal_pod_autoscaler_sync_period="5s",
            flex_volume_plugin_dir=folder / "volumes",
        ))  # fmt: skip
        try:
            yield cluster
        except DoesNotHold as error:
            raise DoesNotHold("\n".join((str(error), *cluster.ended()))) from None


def _api_options(cluster: Cluster, etcd_url: str, port: int, token: str) -> list[str]:
    folder = cluster.folder
    (folder / "tokens.csv").write_text(f"{token},check,check,system:masters\n")
    server = cluster.authority.issue(LOOPBACK, "api")
    front = Authority(folder, "front")
    proxy = front.issue("front-proxy", "front-proxy")
    accounts = rsa.generate_private_key(65537, 2048)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "accounts.key").write_bytes(accounts.private_bytes(pem, form, serialization.NoEncryption()))
    return _options(
        etcd_servers=etcd_url, bind_address=LOOPBACK, secure_port=port, authorization_mode="RBAC",
        token_auth_file=folder / "tokens.csv", client_ca_file=cluster.authority.file, tls_cert_file=server.chain,
        tls_private_key_file=server.key, service_account_issuer="https://kubernetes.default.svc",
        service_account_key_file=folder / "accounts.key", service_account_signing_key_file=folder / "accounts.key",
        service_cluster_ip_range="10.96.0.0/16", endpoint_reconciler_type="none", advertise_address="192.0.2.1",
        requestheader_client_ca_file=front.file, requestheader_allowed_names="front-proxy",
        requestheader_username_headers="X-Remote-User", requestheader_group_headers="X-Remote-Group",
        requestheader_extra_headers_prefix="X-Remote-Extra-", proxy_client_cert_file=proxy.chain,
        proxy_client_key_file=proxy.key, feature_gates=_SERVER,
    )  # fmt: skip


def _options(**values: str | int | Path) -> list[str]:
    """Options as Kubernetes' programs and etcd spell them."""
    shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return [f"--{name.replace('_', '-')}={value}" for name, value in shown.items()]


def _kubeconfig(folder: Path, url: str, token: str) -> Path:
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    cluster = {"server": url, "certificate-authority": str(folder / "authority.pem")}
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "check",
        "clusters": [{"name": "check", "cluster": cluster}],
        "users": [{"name": "check", "user": {"token": token}}],
        "contexts": [{"name": "check", "context": {"cluster": "check", "user": "check"}}],
    }))  # fmt: skip
    return path


async def _until_ready(api: Child, kube: Kube) -> None:
    async def answers() -> None:
        while not await kube.answers("/readyz"):
            await asyncio.sleep(_POLL_S)

    try:
        ready = await api.is_ready(answers(), READY_TIMEOUT_S)
    except TimeoutError:
        ready = False
    if not ready:
        raise DoesNotHold("The API server did not become ready:\n" + "\n".join(api.log_tail(20)))
