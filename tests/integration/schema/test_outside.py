"""The schema of a migrated database is what `tests/snapshots/data` holds; `python -m tests.snapshots` renews that."""

import pytest

from codewell.infra.postgres.connection import Connection
from tests.snapshots import database
from tests.snapshots.comparing import differences, stored


async def test_the_schema_is_the_same_as_before(connection: Connection) -> None:
    expected = {database.FILE: stored()[database.FILE]}

    if told := differences(expected, await database.schema(connection)):
        pytest.fail(told, pytrace=False)
