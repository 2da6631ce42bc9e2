"""Clients that three generators make of the served document compile, and pass one whole scenario each."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.integration.console.test_api import console
from tests.support.site import Site

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
NODE_MODULES = ROOT / "tools" / "node_modules"
VENV = Path(sys.executable).parent
TIMEOUT_S = 240.0


async def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program to its end. Fails with what it printed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words), cwd=cwd, env=dict(os.environ) | variables,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{words}\n{out.decode()}"
    return out.decode()


async def build_python(document: Path, folder: Path) -> list[str | Path]:
    package = folder / "codewell_api"
    await run(
        VENV / "openapi-python-client", "generate", "--path", document, "--meta", "none", "--output-path", package,
        "--fail-on-warning", cwd=folder, PATH=f"{VENV}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    await run(sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "scenario.py", cwd=folder)
    return [sys.executable, "scenario.py"]


async def build_typescript(document: Path, folder: Path) -> list[str | Path]:
    await run("make", "tools/node_modules/.installed", cwd=ROOT)
    (folder / "node_modules").symlink_to(NODE_MODULES)
    binaries = NODE_MODULES / ".bin"
    # A field with a default may be left out of a request.
    await run(
        binaries / "openapi-typescript", document, "--default-non-nullable=false", "--output", "schema.d.ts", cwd=folder
    )
    await run(binaries / "tsc", "--project", ".", cwd=folder)
    return ["node", "scenario.mjs"]


async def build_go(document: Path, folder: Path) -> list[str | Path]:
    await run("go", "tool", "oapi-codegen", "-config", "config.yaml", document, cwd=folder, GOTOOLCHAIN="local")
    await run("go", "build", "-o", "scenario", ".", cwd=folder, GOTOOLCHAIN="local")
    return ["./scenario"]


BUILDS = {"python": build_python, "typescript": build_typescript, "go": build_go}
NEEDED = {"python": "make", "typescript": "npm", "go": "go"}


# A first build downloads its packages.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "language", [pytest.param(one, marks=() if one == "go" else pytest.mark.nightly) for one in BUILDS]
)
async def test_a_generated_client_passes_a_whole_scenario(language: str, site: Site, tmp_path: Path) -> None:
    assert shutil.which(NEEDED[language]), f"{NEEDED[language]} is needed to build this client: install it"
    folder = tmp_path / language
    shutil.copytree(HERE / language, folder)
    async with console(site) as client:
        document = tmp_path / "openapi.json"
        document.write_bytes((await client.get("/openapi.json")).content)
        command = await BUILDS[language](document, folder)
        secret = client.headers["authorization"].removeprefix("Bearer ")
        told = await run(*command, str(client.base_url), secret, language.upper(), cwd=folder)
    assert told.startswith(f"passed: {language.upper()}-")
    assert "is activated already" in told
