"""Tools without a Python package, unpacked from Debian's packages into a cache, without an installation."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codewell" / "debian"


def unpacked(*packages: str) -> Path | None:
    """The root directory of the unpacked packages; None where apt can't fetch them: the caller reports it."""
    root = _CACHE / "+".join(packages)
    if root.exists():
        return root
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        fresh = Path(scratch) / "root"
        fresh.mkdir()
        try:
            subprocess.run(
                ["apt-get", "download", *packages], cwd=scratch, check=True, capture_output=True, timeout=120
            )
            for package in Path(scratch).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, fresh], check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError):
            return None
        # Of two concurrent downloads the first one wins; both have the same content.
        if not root.exists():
            fresh.rename(root)
    return root
