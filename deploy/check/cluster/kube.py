"""What the check asks of a cluster: kubectl and helm, and waiting for what objects say."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from deploy.check.commands import COMMAND_TIMEOUT_S, result, run
from deploy.check.report import DoesNotHold

NAMESPACE: Final = "codewell"
_POLL_S: Final = 0.3
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Kube:
    """Runs kubectl and helm as the cluster's administrator, in one namespace."""

    kubectl: Path
    helm_program: Path
    kubeconfig: Path
    folder: Path

    async def do(self, *words: str | Path, text: str | None = None, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What a kubectl command printed. Raises DoesNotHold when it fails."""
        return await run(self.kubectl, *words, env=self.env, text=text, timeout_s=timeout_s)

    async def tried(self, *words: str | Path, timeout_s: float = COMMAND_TIMEOUT_S) -> tuple[int, str]:
        """The exit status of a kubectl command, and all that it printed."""
        returncode, out, said = await result(self.kubectl, *words, env=self.env, timeout_s=timeout_s)
        return returncode, out + said

    async def helm(self, *words: str | Path, timeout_s: float = 180.0) -> str:
        """What a helm command printed. Raises DoesNotHold when it fails."""
        return await run(self.helm_program, *words, "--namespace", NAMESPACE, env=self.env, timeout_s=timeout_s)

    async def helm_tried(self, *words: str | Path, timeout_s: float = 180.0) -> tuple[int, str]:
        """The exit status of a helm command, and all that it printed."""
        words = (*words, "--namespace", NAMESPACE)
        returncode, out, said = await result(self.helm_program, *words, env=self.env, timeout_s=timeout_s)
        return returncode, out + said

    async def answers(self, path: str) -> bool:
        """Whether the API server answers this path with success."""
        returncode, _ = await self.tried("get", "--raw", path)
        return returncode == 0

    async def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects."""
        await self.apply_file("-", json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    async def apply_file(self, path: str | Path, text: str | None = None) -> None:
        """Create or change the objects of a file or a folder; `-` is the text."""
        # To validate, kubectl would first get the whole schema, which takes long where the server has just begun.
        words = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f")
        await self.do(*words, path, text=text)

    async def objects(self, *words: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get WORDS` finds in the namespace."""
        items: list[dict[str, Any]] = json.loads(await self.do("get", *words, "-n", NAMESPACE, "-o", "json"))["items"]
        return items

    async def one(self, kind: str, name: str) -> dict[str, Any]:
        """One object of the namespace."""
        found: dict[str, Any] = json.loads(await self.do("get", kind, name, "-n", NAMESPACE, "-o", "json"))
        return found

    @property
    def env(self) -> dict[str, str]:
        """What kubectl and helm take from the environment: nothing of the person's own, and nothing left behind."""
        own = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR")
        return {"KUBECONFIG": str(self.kubeconfig), **dict.fromkeys(own, str(self.folder / "clients"))}


async def until(ask: Callable[[], Awaitable[Seen | None]], timeout_s: float, text: str) -> Seen:
    """Ask until the answer is neither None nor False, and return it. Raises DoesNotHold after `timeout_s` (s)."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = await ask()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > deadline:
            raise DoesNotHold(f"{text}: not so after {timeout_s:.0f} s.")
        await asyncio.sleep(_POLL_S)
