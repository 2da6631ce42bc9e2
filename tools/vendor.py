"""Gets the files of other authors that pages load: `make vendor`. `vendor.toml` names the packages and their files."""

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "services" / "console" / "pages" / "static" / "vendor"


def main() -> None:
    """Copy the files of each package. Exits with what is wrong: another integrity, a file whose hash is not listed."""
    packages: list[dict[str, Any]] = tomllib.loads((FOLDER / "vendor.toml").read_text())["package"]
    for package in packages:
        with tempfile.TemporaryDirectory() as directory:
            _copy(package, _packed(package, Path(directory)))


def _packed(package: dict[str, Any], directory: Path) -> Path:
    spec = f"{package['name']}@{package['version']}"
    subprocess.run(["npm", "pack", "--silent", spec], cwd=directory, check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607
    [archive] = directory.iterdir()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if integrity != package["integrity"]:
        sys.exit(f"{spec} has the integrity {integrity}, and vendor.toml expects {package['integrity']}.")
    return archive


def _copy(package: dict[str, Any], archive: Path) -> None:
    with tarfile.open(archive) as packed:
        for name, file in package["files"].items():
            member = packed.extractfile(f"package/{name}")
            assert member is not None, name
            content = member.read()
            found = hashlib.sha256(content).hexdigest()
            if found != file["sha256"]:
                sys.exit(
                    f"{name} of {package['name']} has the SHA-256 {found}, and vendor.toml expects {file['sha256']}."
                )
            (FOLDER / file["to"]).write_bytes(content)


if __name__ == "__main__":
    main()
