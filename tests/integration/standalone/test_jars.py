import asyncio
import hashlib
import socket
import time
from pathlib import Path

import pytest

from codewell.errors import StackUnavailable
from services.standalone import jars
from services.standalone.home import Home
from services.standalone.jars import Jar, class_path, pinned_jars
from services.standalone.kafka import KafkaBroker
from services.standalone.kafka_config import KafkaSettings
from tests.support.processes import until


def jar_of(content: bytes) -> Jar:
    return Jar("org.example", "thing", "1.0", hashlib.sha256(content).hexdigest())


def put(repository: Path, jar: Jar, content: bytes) -> Path:
    path = repository / jar.relative_path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_every_jar_is_pinned_and_the_log_has_one_to_write_with() -> None:
    jars = pinned_jars()

    assert len({jar.coordinate for jar in jars}) == len(jars) == 46
    assert all(len(jar.sha256) == 64 for jar in jars)
    versions = {jar.artifact: jar.version for jar in jars}
    assert versions["kafka-clients"] == versions["kafka-server"] == versions["kafka_2.13"] == "4.2.0"
    assert versions["log4j-slf4j-impl"] == versions["log4j-core"] == versions["log4j-api"]


def test_a_jar_that_is_there_is_not_fetched(tmp_path: Path) -> None:
    jar = jar_of(b"content")
    path = put(tmp_path, jar, b"content")

    assert class_path(tmp_path, [jar]) == [path]


def test_a_jar_that_is_another_is_refused(tmp_path: Path) -> None:
    jar = jar_of(b"content")
    path = put(tmp_path, jar, b"c0ntent")

    with pytest.raises(StackUnavailable, match=f"{path} is not the jar .* delete it and start again"):
        class_path(tmp_path, [jar])


def test_a_registry_out_of_reach_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    with socket.socket() as nobody:
        # Bound but not listening, so that a connection to it is refused at once.
        nobody.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)

        with pytest.raises(
            StackUnavailable, match=r"org\.example:thing:1\.0 cannot be downloaded .* check the network"
        ):
            class_path(tmp_path, [jar_of(b"content")], lambda done, total: seen.append((done, total)))

    assert seen == [(0, 1)]
    assert list(tmp_path.iterdir()) == []


def test_a_repository_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackUnavailable, match=r"Cannot store Kafka's jars in .* set M2_REPO"):
        class_path(tmp_path / "file", [jar_of(b"content")])


async def test_no_more_jars_are_fetched_for_a_start_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def fetch(_: Path, __: Path, jar: Jar) -> None:
        time.sleep(0.05)
        fetched.append(jar)

    monkeypatch.setattr(jars, "_fetch_one", fetch)
    home = await Home.open(tmp_path / "home", disk_free_bytes_min=0)
    starting = asyncio.create_task(KafkaBroker(home, KafkaSettings(maven_repository=tmp_path / "repository")).start())
    await until(lambda: bool(fetched), "first jar")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    # The threads of the downloads end by themselves.
    await asyncio.get_running_loop().shutdown_default_executor()
    home.close()
    assert len(fetched) < len(pinned_jars()) / 2
