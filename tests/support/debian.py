"""Tools that no Python package carries, unpacked from Debian's packages into a cache: nothing is installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codewell" / "debian"


def unpacked(*packages: str) -> Path | None:
    """The root below which the packages' files lie; None where apt does not bring them: the caller says so."""
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
        # Of two who fetch at once the first one wins; what both have is the same.
        if not root.exists():
            fresh.rename(root)
    return root
