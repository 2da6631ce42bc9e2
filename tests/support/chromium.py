"""The browser of the tests: Debian's Chromium, installed where it is missing and this is root's machine."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_LOCK: Final = Path(tempfile.gettempdir()) / "codewell-chromium.lock"
_INSTALL_TIMEOUT_S: Final = 600.0


@cache
def chromium() -> Path | None:
    """The program; None where there is none and apt brings none: the caller reports it."""
    if (found := _found()) is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    # Of the processes that share the tests, one installs it.
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (found := _found()) is None:
            _install()
    return _found()


def _found() -> Path | None:
    there = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in there if path is not None), None)


def _install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(
            ["apt-get", "--quiet", *words], env=environment, check=False, capture_output=True,
            timeout=_INSTALL_TIMEOUT_S,
        )  # fmt: skip
