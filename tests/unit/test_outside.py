"""What the outside sees is what `tests/snapshots/data` holds; `python -m tests.snapshots` renews that."""

import pytest

from tests.snapshots import database
from tests.snapshots.comparing import collected, differences, stored


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The snapshots of the code as it is."""
    return collected(tmp_path_factory.mktemp("snapshots"))


@pytest.mark.parametrize(
    "part",
    [
        pytest.param("api/", id="openapi document and paths"),
        pytest.param("commands/", id="help of commands"),
        pytest.param("metrics/", id="metrics"),
        pytest.param("log_events.txt", id="log events"),
        pytest.param("names.txt", id="names"),
        pytest.param("settings.txt", id="settings"),
        pytest.param("topics.txt", id="topics"),
        pytest.param("answers/", id="bytes of answers"),
        pytest.param("database/migrations.txt", id="migrations"),
    ],
)
def test_the_outside_sees_the_same_as_before(part: str, found: dict[str, str]) -> None:
    expected = {name: text for name, text in stored().items() if name.startswith(part)}
    now = {name: text for name, text in found.items() if name.startswith(part)}

    assert expected
    if told := differences(expected, now):
        pytest.fail(told, pytrace=False)


def test_no_snapshot_is_left_out(found: dict[str, str]) -> None:
    assert stored().keys() == found.keys() | {database.FILE}, "run: python -m tests.snapshots"
