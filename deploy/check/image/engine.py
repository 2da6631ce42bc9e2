"""Buildah and Podman of this machine, with storage of their own, and the images that they build.

No registry of images is reached: the base is a Debian of its package servers, made by debootstrap, with the Python of
the Dockerfile's base. Neither has systemd to lean on, so health checks are asked by the check itself.
"""

import json
import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from deploy.check.commands import run
from deploy.check.report import DoesNotHold, expect
from deploy.check.tools import CACHE

PROGRAMS: Final = ("buildah", "podman", "runc", "catatonit", "debootstrap")
SUITE: Final = "trixie"
BASE: Final = f"localhost/codewell-check-base:{SUITE}"
# The time that all files of an image get.
EPOCH: Final = "1580601600"
BASE_TIMEOUT_S: Final = 1_200.0
BUILD_TIMEOUT_S: Final = 1_800.0
ROOT: Final = Path(__file__).parents[3]

_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_FOLDER: Final = CACHE / "image"
_STORAGE: Final = (
    *("--root", str(_FOLDER / "storage"), "--runroot", "/tmp/codewell-image-run"),
    *("--storage-driver", "overlay"),
)
PODMAN: Final = ("podman", *_STORAGE, "--runtime", "runc", "--cgroup-manager", "cgroupfs")
# The engines' own defaults may be above what this process is allowed.
_LIMIT: Final = min(4_096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
ULIMITS: Final = (f"--ulimit=nofile={_LIMIT}:{_LIMIT}", f"--ulimit=nproc={_LIMIT}:{_LIMIT}")
# What the build needs to reach the index of packages through this machine's own authority.
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")


def check_programs() -> None:
    """Raises DoesNotHold when a program is missing, or this is not root, whom debootstrap and runc need."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/libexec/podman"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise DoesNotHold(f"{', '.join(missing)} missing: apt-get install --no-install-recommends {' '.join(PROGRAMS)}")
    if os.geteuid() != 0:
        raise DoesNotHold("Images are built and run as root: run this part as root, or leave it out.")


async def podman(*words: str, timeout_s: float = 60.0) -> str:
    """What Podman prints. Raises DoesNotHold with what it said when it fails."""
    return await run(*PODMAN, *words, timeout_s=timeout_s)


async def inspected(image: str) -> dict[str, Any]:
    """What Podman knows of an image."""
    found: dict[str, Any] = json.loads(await podman("image", "inspect", image))[0]
    return found


async def has(image: str) -> bool:
    return bool((await podman("images", "--quiet", "--filter", f"reference={image}")).strip())


async def make_base() -> None:
    """Make the base; it takes minutes, once."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER, prefix="base-") as name:
        system, archive = Path(name, "system"), Path(name, "base.tar")
        words = ("--variant=minbase", f"--include={_PACKAGES}", SUITE, str(system))
        await run("debootstrap", *words, timeout_s=BASE_TIMEOUT_S)
        left_over = [*(system / "var/cache/apt/archives").glob("*.deb"), *(system / "var/lib/apt/lists").glob("*_*")]
        for path in left_over:
            path.unlink()
        await run("tar", "-C", system, "--numeric-owner", "-cf", archive, ".", timeout_s=BASE_TIMEOUT_S)
        await podman("import", str(archive), BASE, timeout_s=BASE_TIMEOUT_S)


async def build(service: str, tag: str, *options: str) -> None:
    """Build one service's image as a person does, with Buildah. Steps that were built before come from the cache."""
    builder = [
        *("buildah", *_STORAGE, "bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--layers"),
        *(*ULIMITS, "--timestamp", EPOCH),
        *("--volume", f"{_CERTIFICATES}:/etc/ssl/host.crt:ro", "--volume", f"{_pip_settings()}:/etc/pip.conf:ro"),
    ]
    environment = {"CODEWELL_BUILDER": " ".join(builder), "BASE": BASE, "SOURCE_DATE_EPOCH": EPOCH}
    words = ("sh", str(ROOT / "deploy" / "build-image.sh"), service, "--tag", tag, *options)
    await run(*words, env=environment, timeout_s=BUILD_TIMEOUT_S)


async def health_check(image: str) -> list[str]:
    """The words of an image's health check, which Podman itself does not show."""
    said = await run("buildah", *_STORAGE, "inspect", "--type", "image", image)
    kind, *words = json.loads(said)["Docker"]["config"]["Healthcheck"]["Test"]
    expect(kind == "CMD", f"The health check of {image} is {kind}.")
    return list(words)


def _pip_settings() -> Path:
    """Not a variable of the build: it would be in the image."""
    file = _FOLDER / "pip.conf"
    file.write_text("[global]\ncert = /etc/ssl/host.crt\n")
    return file
