import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.deployment import COMMANDS, DOCKERFILE, ROOT, final, image_environment, instructions


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    words = ["--no-color", "--failure-threshold=style", "--disable-ignore-pragma", str(DOCKERFILE)]
    checked = subprocess.run([str(hadolint), *words], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_last_stage_runs_as_a_user_with_a_number_that_is_not_root() -> None:
    # A cluster that forbids root can't tell it from a name.
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final("USER")[-1].value)


def test_the_program_is_the_process_itself_so_that_it_hears_sigterm() -> None:
    (entrypoint,) = final("ENTRYPOINT")
    assert entrypoint.words == ["codewell"]
    assert all(one.words[0] in COMMANDS for one in final("CMD"))


def test_the_last_stage_has_a_health_check_and_knows_its_port() -> None:
    (check,) = final("HEALTHCHECK")
    assert check.words[0] == "python"
    assert int(image_environment()["CODEWELL_HEALTH_PORT"]) > 0


def test_nothing_is_installed_without_its_hash() -> None:
    runs = " && ".join(one.value for one in instructions() if one.name == "RUN")
    installs = [step for step in runs.split("&&") if re.search(r"\bpip\b.* (download|install|wheel) ", step)]
    assert installs
    for step in installs:
        assert "--no-index" in step or {"--require-hashes", "--only-binary"} <= set(step.split()), step


def test_the_last_stage_installs_nothing_itself() -> None:
    assert not [one.value for one in final("RUN") if re.search(r"\b(pip|apt|apt-get|gcc)\b", one.value)]


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    ignored, *allowed = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert ignored == "*"
    copied = [
        source
        for one in instructions()
        if one.name == "COPY" and "--from=" not in one.value
        for source in one.value.split()[:-1]
    ]
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed, source


def test_the_image_is_of_the_version_of_the_distribution() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in final("LABEL")[0].value
    assert any(f'"codewell[${{EXTRAS}}]=={version}"' in one.value for one in instructions() if one.name == "RUN")
