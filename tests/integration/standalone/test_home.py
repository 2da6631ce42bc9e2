import json
import stat
from pathlib import Path

import pytest

from codewell.errors import StackUnavailable
from services.standalone.home import Endpoints, Home, read_endpoints

ENDPOINTS = Endpoints(
    postgres_url="postgresql://u:p@127.0.0.1:1/d", kafka_bootstrap="127.0.0.1:2", api_url="http://127.0.0.1:3"
)


async def test_endpoints_are_there_for_the_life_of_the_stack(tmp_path: Path) -> None:
    home = await Home.open(tmp_path / "deep" / "home")
    assert read_endpoints(home.path) is None

    home.write_endpoints(ENDPOINTS)
    assert read_endpoints(home.path) == ENDPOINTS
    file = home.path / "endpoints.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(json.loads(file.read_text())) == ["api_url", "kafka_bootstrap", "postgres_url"]

    home.remove_endpoints()
    home.remove_endpoints()
    assert read_endpoints(home.path) is None
    home.close()
    home.close()


async def test_endpoints_of_a_dead_stack_count_for_nothing(tmp_path: Path) -> None:
    dead = await Home.open(tmp_path)
    dead.write_endpoints(ENDPOINTS)
    dead.close()
    assert (tmp_path / "endpoints.json").exists()

    assert read_endpoints(tmp_path) is None
    home = await Home.open(tmp_path)
    assert not (tmp_path / "endpoints.json").exists()
    home.close()


async def test_no_home_has_no_endpoints(tmp_path: Path) -> None:
    assert read_endpoints(tmp_path / "none") is None


def test_a_file_in_place_of_a_home_has_no_endpoints(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_endpoints(tmp_path / "file") is None


async def test_a_second_stack_is_refused(tmp_path: Path) -> None:
    home = await Home.open(tmp_path)
    with pytest.raises(
        StackUnavailable, match=rf"pid \d+ already runs in {tmp_path}: use it, stop it, or set CODEWELL_HOME"
    ):
        await Home.open(tmp_path)
    home.close()

    (await Home.open(tmp_path)).close()


async def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackUnavailable, match=rf"disk of {tmp_path} has \d+ MiB free, .* set CODEWELL_HOME"):
        await Home.open(tmp_path, disk_free_bytes_min=1024**6)


async def test_a_place_that_can_not_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackUnavailable, match=r"Cannot use .* as home .* set CODEWELL_HOME"):
        await Home.open(tmp_path / "file" / "home")
