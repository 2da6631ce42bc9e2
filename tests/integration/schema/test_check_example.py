"""The SQL of `examples/check` tells right codes from wrong ones."""

import json
from pathlib import Path

from codewell.infra.postgres.connection import Connection

EXAMPLES = Path(__file__).parents[3] / "examples/check"


async def test_the_sql_example(connection: Connection) -> None:
    vectors = json.loads((EXAMPLES / "vectors.json").read_text())
    await connection.execute((EXAMPLES / "check.sql").read_text())

    told = await connection.fetchval(
        "SELECT json_agg(code_is_right(v ->> 'code', v ->> 'mask', v ->> 'alphabet') ORDER BY n) "
        "FROM json_array_elements($1::json) WITH ORDINALITY AS a (v, n)",
        json.dumps(vectors),
    )

    assert json.loads(told) == [one["right"] for one in vectors]
