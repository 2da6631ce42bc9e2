"""Programs that the checks need, most of them built by Go and kept in a cache by version.

Each Go program is built from a module of its own, which names the program's module at one version, and repeats its
replacements: Go ignores those of a module that is not the main one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from codewell.errors import CodewellError
from deploy.check.commands import run
from tests.support.debian import unpacked

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codewell-deploy-check"
BUILD_TIMEOUT_S: Final = 3_600.0
DOWNLOAD_TIMEOUT_S: Final = 600.0
# Where Go's own archive is unpacked, which is on the path of login shells alone.
_GO: Final = Path("/usr/local/go/bin/go")


@dataclass(frozen=True)
class Source:
    """A Go module at one version, and the programs to build of it."""

    name: str
    module: str
    version: str
    programs: tuple[str, ...] = ()
    linker_flags: str = "-s -w"

    @property
    def key(self) -> str:
        return f"{self.name}-{self.version}"


def _kubernetes(version: str) -> Source:
    major, minor, _ = version.removeprefix("v").split(".")
    variable = "-X k8s.io/component-base/version."
    return Source(
        "kubernetes",
        "k8s.io/kubernetes",
        version,
        ("cmd/kube-apiserver", "cmd/kube-scheduler", "cmd/kube-controller-manager", "cmd/kubectl"),
        f"-s -w {variable}gitVersion={version} {variable}gitMajor={major} {variable}gitMinor={minor}",
    )


KUBERNETES: Final = _kubernetes("v1.34.4")
KWOK: Final = Source("kwok", "sigs.k8s.io/kwok", "v0.8.0", ("cmd/kwok",))
KEDA: Final = Source("keda", "github.com/kedacore/keda/v2", "v2.21.0", ("cmd/operator", "cmd/adapter"))
HELM: Final = Source("helm", "helm.sh/helm/v3", "v3.22.0", ("cmd/helm",))


async def built(source: Source) -> Path:
    """The folder of a source's programs; the first time it takes minutes. Raises CodewellError without Go."""
    programs = _programs(source)
    if is_built(source):
        return programs
    programs.parent.mkdir(parents=True, exist_ok=True)
    downloaded = await download(source)
    description = json.loads(await run(_go(), "mod", "edit", "-json", downloaded / "go.mod"))
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        own, made = Path(scratch, "module"), Path(scratch, "bin")
        own.mkdir()
        made.mkdir()
        (own / "go.mod").write_text(module_file(source, description))
        (own / "go.sum").write_bytes((downloaded / "go.sum").read_bytes())
        flags = ("-mod=mod", "-buildvcs=false", "-ldflags", source.linker_flags)
        packages = [f"{source.module}/{program}" for program in source.programs]
        await run(
            *(_go(), "build", *flags, "-o", f"{made}/", *packages),
            cwd=own,
            env={"CGO_ENABLED": "0", "GOFLAGS": ""},
            timeout_s=BUILD_TIMEOUT_S,
        )
        made.rename(programs)
    return programs


def is_built(source: Source) -> bool:
    """Whether the cache has its programs."""
    return _programs(source).exists()


def _programs(source: Source) -> Path:
    return CACHE / "bin" / source.key


async def download(source: Source) -> Path:
    """The folder of a source's files, in Go's own cache. Raises CodewellError without Go."""
    said = await run(
        _go(),
        "mod",
        "download",
        "-json",
        f"{source.module}@{source.version}",
        cwd=Path("/"),
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )
    return Path(json.loads(said)["Dir"])


def module_file(source: Source, description: dict[str, Any]) -> str:
    """The go.mod of a module that builds a source; `description` is what `go mod edit -json` says of the source's."""
    lines = [f"module codewell.invalid/{source.name}", f"go {description['Go']}"]
    lines += [f"godebug {one['Key']}={one['Value']}" for one in description.get("Godebug") or ()]
    lines.append(f"require {source.module} {source.version}")
    lines += _replacements(source, description.get("Replace") or ())
    lines += [f"exclude {one['Path']} {one['Version']}" for one in description.get("Exclude") or ()]
    return "\n".join(lines) + "\n"


def _replacements(source: Source, replaced: Iterable[dict[str, dict[str, str]]]) -> Iterable[str]:
    """Kubernetes replaces its parts by folders, which are published as modules of v0 with the same minor and patch."""
    for one in replaced:
        old, new = one["Old"], one["New"]
        words = (
            [new["Path"], new["Version"]]
            if "Version" in new
            else [old["Path"], f"v0.{source.version.partition('.')[2]}"]
        )
        yield " ".join(["replace", old["Path"], *([old["Version"]] if "Version" in old else []), "=>", *words])


def etcd() -> Path:
    """etcd of this machine, or of Debian's package, unpacked. Raises CodewellError where neither is to be had."""
    if found := shutil.which("etcd"):
        return Path(found)
    root = unpacked("etcd-server")
    if root is None:
        raise CodewellError("Install etcd, which is on no path here, and which apt cannot bring.")
    return root / "usr" / "bin" / "etcd"


def _go() -> str:
    found = shutil.which("go") or (str(_GO) if _GO.exists() else None)
    if found is None:
        raise CodewellError("Install Go 1.26 or newer: the check of the deployment builds Kubernetes with it.")
    return found
