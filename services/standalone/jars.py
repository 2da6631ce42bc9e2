"""Kafka's jars, each pinned by its SHA-256: downloaded once, then taken from the local Maven repository."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from codewell.errors import StackUnavailable

DOWNLOADS_AT_ONCE_MAX = 4
DOWNLOAD_TIMEOUT_S = 30

_LIST = Path(__file__).with_name("kafka-jars.txt")

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Called with the number of jars present and the total number, from any thread."""


@dataclass(frozen=True)
class Jar:
    """A jar by its coordinates in Maven's registry, with its SHA-256 in hexadecimal digits."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def relative_path(self) -> Path:
        """Its path in every Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")


def pinned_jars(path: Path = _LIST) -> list[Jar]:
    """The jars of a list, a line each."""
    jars = []
    for line in path.read_text().splitlines():
        coordinate, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def local_repository() -> Path:
    """Maven's own repository, so that jars fetched by other tools are used. Absolute: Kafka runs in another folder."""
    found = os.environ.get("M2_REPO")
    return Path(found).absolute() if found else Path.home() / ".m2" / "repository"


def class_path(repository: Path, jars: list[Jar], progress: Progress | None = None) -> list[Path]:
    """The path of each jar, downloaded if missing and always verified: 43 MB take some 40 ms.

    Raises StackUnavailable if one can't be downloaded or stored, or is another one.
    """
    missing = [jar for jar in jars if not (repository / jar.relative_path).exists()]
    if missing:
        try:
            _fetch(repository, missing, len(jars), progress)
        except OSError as error:
            raise StackUnavailable(
                f"Cannot store Kafka's jars in {repository} ({error.strerror}): set M2_REPO to a writable directory."
            ) from error
    paths = [repository / jar.relative_path for jar in jars]
    for jar, path in zip(jars, paths, strict=True):
        if _sha256(path) != jar.sha256:
            raise StackUnavailable(f"{path} is not the jar that Codewell was built with: delete it and start again.")
    return paths


def _fetch(repository: Path, missing: list[Jar], total: int, progress: Progress | None) -> None:
    log.info("fetching kafka", jars=len(missing), repository=str(repository))
    done = total - len(missing)
    if progress:
        progress(done, total)
    repository.mkdir(parents=True, exist_ok=True)
    # Downloaded beside the repository and moved in after verification: the next start must not find a partial file.
    with (
        tempfile.TemporaryDirectory(prefix=".codewell-", dir=repository) as staging,
        ThreadPoolExecutor(DOWNLOADS_AT_ONCE_MAX) as pool,
    ):
        fetches = [pool.submit(_fetch_one, Path(staging), repository, jar) for jar in missing]
        try:
            for fetch in fetches:
                fetch.result()
                done += 1
                if progress:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_one(staging: Path, repository: Path, jar: Jar) -> None:
    try:
        # The import takes 0.3 s, which a start with all jars saves.
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        raise StackUnavailable(
            'The downloader of Kafka is not installed: pip install "codewell[standalone]".'
        ) from error
    context = MavenContext(repo_cache=staging, timeout=DOWNLOAD_TIMEOUT_S)
    try:
        fetched = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (OSError, RuntimeError) as error:
        raise StackUnavailable(
            f"Kafka's jar {jar.coordinate} cannot be downloaded ({type(error).__name__}): check the network and the "
            "proxy settings (REQUESTS_CA_BUNDLE names certificate authorities of your own), and start again."
        ) from error
    if _sha256(fetched) != jar.sha256:
        raise StackUnavailable(
            f"The downloaded jar {jar.coordinate} is not the one that Codewell was built with: check the proxies "
            "between this machine and its Maven repository, and start again."
        )
    target = repository / jar.relative_path
    target.parent.mkdir(parents=True, exist_ok=True)
    fetched.replace(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
