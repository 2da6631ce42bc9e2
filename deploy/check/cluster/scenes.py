"""What happens to the chart on a cluster, one scene after the other: it ends at the first thing that does not hold."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.check.cluster.availability import least_available
from deploy.check.cluster.control_plane import NODE_GRACE_S, Cluster
from deploy.check.cluster.fake_nodes import BROKEN_TAG, kill_node, revive_node
from deploy.check.cluster.kube import until
from deploy.check.cluster.release import (
    AWAY_S,
    CHART,
    LAG_PER_ISSUER,
    NAME,
    WAIT,
    namespace,
    node_of,
    pods,
    ready_pods,
    secrets,
    tags,
    zones,
)
from deploy.check.cluster.requests import Requests
from deploy.check.report import Report, expect

ISSUERS: Final = 4
_SCALED_TIMEOUT_S: Final = 120.0
_MOVED_TIMEOUT_S: Final = 120.0
# The waits of the chart before it takes an issuer away, which are minutes, in this check.
_SHORT_WAIT_S: Final = 10
# Zones whose nodes are drained: two of three, so that no service keeps all its pods.
_DRAINED: Final = "ab"


@dataclass(frozen=True)
class Scenes:
    """A cluster, requests in Kafka, and the values of the installation."""

    cluster: Cluster
    requests: Requests
    values: Path
    report: Report

    async def bad_values(self) -> None:
        """A value that does not exist, one of the wrong type, and one that is missing: nothing is installed."""
        kube = self.cluster.kube
        for words, expected in (
            (("--set", "issuer.replcas=3"), "replcas"),
            (("--set-string", "issuer.replicas=three"), "replicas"),
            (("--set", "masterKey.secret="), "masterKey.secret is empty"),
        ):
            returncode, said = await kube.helm_tried("install", NAME, CHART, "-f", self.values, *words)
            expect(returncode != 0, f"helm installed the chart with {words[1]}.")
            expect(expected in said, f"helm did not name {expected!r}, but said:\n{said}")
            self.report.held(f"helm refuses {words[1]}: {said.strip().splitlines()[-1].strip()[:120]}")
        expect(not await kube.objects("deployments,jobs"), "A refused installation left something.")

    async def missing_secret(self) -> None:
        """A Secret that does not exist, or lacks a key, is named before anything runs."""
        kube = self.cluster.kube
        await kube.apply(*secrets(without="master-key"))
        for words, expected in (
            ((), "Secret master-key is not in namespace codewell"),
            (("--set", "masterKey.secret=database-users"), "Secret database-users has no key master-key"),
        ):
            returncode, said = await kube.helm_tried("install", NAME, CHART, "-f", self.values, *words)
            expect(returncode != 0, "helm installed the chart without the master key.")
            expect(expected in said, f"helm did not say {expected!r}, but:\n{said}")
            self.report.held(f"helm says what is missing: {said.strip().rpartition('): ')[2][:120]}")
        expect(not await kube.objects("deployments,jobs"), "A refused installation left something.")

    async def install(self) -> None:
        """Installed with its hook, which has ended before anything else is made, in a restricted namespace."""
        kube = self.cluster.kube
        await kube.apply(*secrets())
        with self.report.measured("`helm install --wait` with its migration, under Pod Security `restricted`"):
            said = await kube.helm("install", NAME, CHART, "-f", self.values, *WAIT)
        expect("would violate" not in said, f"A pod is not restricted:\n{said}")
        migration = await kube.one("job", f"{NAME}-migrate")
        done = migration["status"].get("completionTime", "")
        expect(done, "The migration has not ended.")
        deployments = await kube.objects("deployments")
        early = [one["metadata"]["name"] for one in deployments if one["metadata"]["creationTimestamp"] < done]
        expect(not early, f"Made before the migration had ended: {early}.")
        self.report.held(f"the migration ended before {len(deployments)} Deployments were made")

    async def scale_up(self) -> None:
        """A lag in Kafka brings issuers, in every zone."""
        kube = self.cluster.kube
        await self._issuers(1)
        # Without a committed offset, KEDA counts each partition of a topic as a lag of 1.
        await self.requests.take_all()
        await self._until_asked()
        expect(len(await pods(kube, "issuer")) == 1, "There is more than one issuer without a lag.")
        await self.requests.publish(LAG_PER_ISSUER * ISSUERS)
        with self.report.measured(f"lag 0 to {LAG_PER_ISSUER * ISSUERS}: issuers 1 to {ISSUERS}, all ready"):
            await self._issuers(ISSUERS)
        for service in ("issuer", "generator", "console"):
            found = zones(await ready_pods(kube, service))
            expect(max(found.values()) - min(found.values()) <= 1 and len(found) == min(3, found.total()),
                   f"The pods of {service} are not spread over the zones: {found}.")  # fmt: skip
            self.report.held(f"{service}: {found.total()} pods in {len(found)} zones")

    async def upgrade(self) -> None:
        """Upgraded while scaled: as many issuers as before, and none missing meanwhile."""
        kube = self.cluster.kube
        before = await self._available()
        async with least_available(self.cluster, "upgrade") as least:
            with self.report.measured("`helm upgrade --wait` to another image"):
                await kube.helm("upgrade", NAME, CHART, "-f", self.values, "--set", "image.tag=v2", *WAIT)
        self._kept(before, await self._available(), least, missing=0)
        for service in ("issuer", "generator", "console"):
            expect(tags(await pods(kube, service)) == {"v2"}, f"{service} has pods of another image.")
        self.report.held(f"the upgrade kept {ISSUERS} issuers that KEDA had asked for, and all pods available")

    async def drain(self) -> None:
        """All nodes of two zones drained: no service loses more than one pod at a time."""
        kube = self.cluster.kube
        before = await self._available()
        nodes = [name for name in await self._nodes() if name[0] in _DRAINED]
        async with least_available(self.cluster, "drain") as least:
            with self.report.measured(f"{len(nodes)} nodes of two zones drained, all pods ready on the others"):
                await kube.do(
                    *("drain", *nodes, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=100s"), timeout_s=120
                )
                await until(lambda: self._is_available(before), _SCALED_TIMEOUT_S, "All pods are available again")
        self._kept(before, await self._available(), least, missing=1)
        self.report.held("at most one pod of each service was away at a time")
        await kube.do("uncordon", *nodes)

    async def broken_upgrade(self) -> None:
        """An image that never becomes ready stops the upgrade and nothing else; the roll-back takes it away."""
        kube = self.cluster.kube
        before = await self._available()
        async with least_available(self.cluster, "rollback") as least:
            returncode, said = await kube.helm_tried(
                *("upgrade", NAME, CHART, "-f", self.values, "--set", "image.tag=v3"),
                *("--set", f"issuer.image.tag={BROKEN_TAG}", "--wait", "--timeout", "15s"),
            )
            expect(returncode != 0, "helm took an image that never becomes ready for a success.")
            self.report.held(f"an image that never becomes ready: {said.strip().splitlines()[-1].strip()[:120]}")
            with self.report.measured("`helm rollback --wait` after it"):
                await kube.helm("rollback", NAME, "2", *WAIT)
        self._kept(before, await self._available(), least, missing=0)
        for service in ("issuer", "generator", "console"):
            expect(tags(await ready_pods(kube, service)) == {"v2"}, f"{service} was not rolled back.")
        self.report.held("the pods of before served all the time, and nothing else is left")

    async def scale_down(self) -> None:
        """Without a lag there is one issuer again."""
        await self._shorten_waits()
        await self.requests.take_all()
        with self.report.measured(
            f"lag 0 again: issuers {ISSUERS} to 1 (with waits of {_SHORT_WAIT_S} s, not minutes)"
        ):
            await self._issuers(1)

    async def dead_node(self) -> None:
        """The node of the only generator dies: it is made anew elsewhere, without a hand."""
        kube = self.cluster.kube
        words = ("upgrade", NAME, CHART, "-f", self.values, "--set", "image.tag=v2", "--set", "generator.replicas=1")
        await kube.helm(*words, *WAIT)

        async def the_only_one() -> dict[str, Any] | None:
            found = await ready_pods(kube, "generator")
            return found[0] if len(found) == len(await pods(kube, "generator")) == 1 else None

        dead = node_of(await until(the_only_one, _SCALED_TIMEOUT_S, "There is one generator"))

        async def moved() -> bool:
            return any(node_of(pod) != dead for pod in await ready_pods(kube, "generator"))

        name = (
            f"the node of the only generator dies: ready on another (noticed after {NODE_GRACE_S} s, borne {AWAY_S} s)"
        )
        with self.report.measured(name):
            await kill_node(self.cluster, dead)
            await until(moved, _MOVED_TIMEOUT_S, f"The generator leaves {dead}, which is dead")
        await revive_node(self.cluster, dead)

    async def _issuers(self, count: int) -> None:
        async def so_many() -> bool:
            found = await pods(self.cluster.kube, "issuer")
            return len(found) == len(await ready_pods(self.cluster.kube, "issuer")) == count

        await until(so_many, _SCALED_TIMEOUT_S, f"There are {count} issuers")

    async def _until_asked(self) -> None:
        """Wait until the autoscaler has had an answer from KEDA."""

        async def active() -> bool:
            conditions = [
                condition
                for one in await self.cluster.kube.objects("hpa")
                for condition in one.get("status", {}).get("conditions", [])
            ]
            return any(one["type"] == "ScalingActive" and one["status"] == "True" for one in conditions)

        await until(active, _SCALED_TIMEOUT_S, "The autoscaler has the lag from KEDA")

    async def _shorten_waits(self) -> None:
        policies = [{"type": "Pods", "value": 1, "periodSeconds": _SHORT_WAIT_S}]
        down = {"stabilizationWindowSeconds": _SHORT_WAIT_S, "policies": policies}
        change = {"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}}}}
        words = ("patch", "scaledobject", f"{NAME}-issuer", "-n", "codewell", "--type=merge", "-p", json.dumps(change))
        await self.cluster.kube.do(*words)

    async def _nodes(self) -> list[str]:
        return [node["metadata"]["name"] for node in await self.cluster.kube.objects("nodes")]

    async def _available(self) -> dict[str, int]:
        found = await self.cluster.kube.objects("deployments")
        return {one["metadata"]["name"]: one.get("status", {}).get("availableReplicas", 0) for one in found}

    async def _is_available(self, wanted: dict[str, int]) -> bool:
        return await self._available() == wanted

    @staticmethod
    def _kept(before: dict[str, int], after: dict[str, int], least: dict[str, int], missing: int) -> None:
        expect(after == before, f"Available after it: {after}, and before: {before}.")
        for name, count in before.items():
            expect(least[name] >= count - missing, f"Only {least[name]} of {count} pods of {name} were available.")


async def play(cluster: Cluster, requests: Requests, values: Path, report: Report) -> None:
    """All scenes in their order: each begins with what the one before left."""
    await cluster.kube.apply(namespace())
    scenes = Scenes(cluster, requests, values, report)
    for scene in (
        *(scenes.bad_values, scenes.missing_secret, scenes.install, scenes.scale_up, scenes.upgrade, scenes.drain),
        *(scenes.broken_upgrade, scenes.scale_down, scenes.dead_node),
    ):
        await scene()
