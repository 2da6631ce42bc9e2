"""Blocks of code in Markdown pages, by the heading above them, and a place to run them as they stand."""

import re
import shlex
import shutil
import venv
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from tests.deploy.test_pins import with_all_below
from tests.e2e.test_wheel import link
from tests.support.commands import CODEWELL, Said, environment, run_to_end

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 240.0
_COMPLAINT: Final = re.compile(r"Traceback|Error:|about:blank|/problems/")
_HEADING: Final = re.compile(r"^#+ (.+)$")
# What the client and its build need; the test reaches no registry for Python.
_PACKAGES: Final = ("aiokafka", "httpx", "hatchling", "pip")


def blocks(page: Path, language: str) -> dict[str, list[str]]:
    """The texts of all fenced blocks of a language, by the nearest heading above."""
    found: dict[str, list[str]] = {}
    heading = ""
    lines: list[str] | None = None
    for line in page.read_text("utf-8").splitlines():
        if lines is not None:
            if line == "```":
                found.setdefault(heading, []).append("\n".join(lines) + "\n")
                lines = None
            else:
                lines.append(line)
        elif line == f"```{language}":
            lines = []
        elif title := _HEADING.match(line):
            heading = title[1]
    return found


class Workplace:
    """A folder with the repository's client and examples, a Python of its own, and `codewell` on its path."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        bin_ = folder / "bin"
        bin_.mkdir()
        for name in ("client", "examples"):
            built = shutil.ignore_patterns("node_modules", "target", "__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=built)
        codewell = bin_ / "codewell"
        words = shlex.join(CODEWELL)
        codewell.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {words} "$@"\n')
        codewell.chmod(0o755)
        venv.create(folder / "venv")
        [packages] = (folder / "venv").glob("lib/python*/site-packages")
        for name in sorted(with_all_below(list(_PACKAGES))):
            link(distribution(name), packages)
        (folder / "venv" / "bin" / "pip").write_text(f'#!/bin/sh\nexec {folder}/venv/bin/python -m pip "$@"\n')
        (folder / "venv" / "bin" / "pip").chmod(0o755)
        self.packages = packages
        path = f"{bin_}:{folder / 'venv' / 'bin'}:{environment()['PATH']}"
        # The first two: build with what is here.
        self.variables = {
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PATH": path,
            "CODEWELL_HOME": str(home),
        }

    async def run(self, script: str, timeout_s: float = TIMEOUT_S, **variables: str) -> Said:
        """Run lines of a shell as they stand, up to the first that fails."""
        return await self.run_program("bash", "-euo", "pipefail", "-c", script, timeout_s=timeout_s, **variables)

    async def run_clean(self, script: str) -> str:
        """Run lines as `run` does and return their output. An error or a problem in it fails the test."""
        said = await self.run(script)
        assert said.status == 0, said
        assert not _COMPLAINT.search(said.out + said.err), said
        return said.out

    async def run_program(self, *words: str, timeout_s: float = TIMEOUT_S, **variables: str) -> Said:
        """Run a program here."""
        return await run_to_end(*words, env=self._env(variables), cwd=self.folder, timeout_s=timeout_s)

    def _env(self, variables: Mapping[str, str]) -> dict[str, str]:
        env = environment(**self.variables, **variables)
        # A virtual environment that a block makes finds the packages too, as it reaches no registry.
        return env | {"PYTHONPATH": str(self.packages)}
