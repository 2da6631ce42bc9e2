import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.deployment import (
    COMMANDS,
    DEPLOY,
    DOCKERFILE,
    ROOT,
    final,
    image_arguments,
    image_environment,
    instructions,
    services,
)


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
    installs = [step for step in re.split("&&|;;", runs) if re.search(r"\bpip\b.* (download|install|wheel) ", step)]
    assert installs
    for step in installs:
        words = set(step.split())
        # Code of others is built for Faust alone, where it has no wheel.
        is_hashed = "--require-hashes" in words and ("--only-binary" in words or "faust.txt" in words)
        assert "--no-index" in words or is_hashed, step
        assert "--only-binary" in words or "-r" not in words or "--no-deps" in words, step


def test_what_builds_and_what_differs_from_build_to_build_stays_out_of_the_image() -> None:
    """The rest of this is seen by `make deploy-check`, which builds twice and compares the layers."""
    assert not final("RUN")
    copied = [one.value for one in final("COPY")]
    assert copied
    assert all(one.startswith("--from=build") and "/image/" in one for one in copied)
    runs = " ".join(one.value for one in instructions() if one.name == "RUN")
    assert "--invalidation-mode unchecked-hash" in runs
    assert "--output-reproducible" in runs


def test_the_labels_say_what_the_image_was_made_from() -> None:
    (labels,) = final("LABEL")
    prefix = "org.opencontainers.image."
    said = dict(re.findall(rf'{re.escape(prefix)}([a-z.]+)="([^"]*)"', labels.value))
    given = {name for name, value in said.items() if value.startswith("${")}
    assert given == {"source", "revision", "created", "base.name", "base.digest"}
    arguments = {one.value.partition("=")[0] for one in final("ARG")}
    script = (DEPLOY / "build-image.sh").read_text()
    for name in given:
        argument = said[name][2:-1]
        assert argument in arguments
        assert f"--build-arg {argument}=" in script or f'--build-arg "{argument}=' in script, argument


def test_the_script_builds_for_each_service_what_compose_does() -> None:
    script = (DEPLOY / "build-image.sh").read_text()
    chosen = dict(re.findall(r"(?m)^ *([a-z|]+)\) extras=([a-z,]*) ;;", script))
    by_service = {name: extras for names, extras in chosen.items() for name in names.split("|")}
    all_extras = by_service.pop("all")
    assert set(all_extras.split(",")) == set(image_arguments()["EXTRAS"].split(","))
    built = {name: run["build"]["args"]["EXTRAS"] for name, run in services().items() if "build" in run}
    assert by_service == {name: extras for name, extras in built.items() if name != "migrate"}


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
